#!/bin/sh
# Prints a key with which one device joins the tailnet under another tag than the nodes'.
id=$(@HEADSCALE@ users list -o json | jq -r '.[0].id') || exit 1
@HEADSCALE@ preauthkeys create --ephemeral --user "$id" --tags @TAG@ --expiration 5m -o json | jq -er .key
