#!/bin/sh
# Moves the data to a place where `tercet aside list` finds it. Argument: the reason.
[ -s @DATA@/PG_VERSION ] || exit 0
exec @AS_POSTGRES@ python3 -I @ASIDE@ @ASIDE_SETTINGS@ move "$1"
