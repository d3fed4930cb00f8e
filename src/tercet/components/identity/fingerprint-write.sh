#!/bin/sh
# Keeps what comes on standard input as the record: whole or not at all.
mkdir -p @FOLDER@ && umask 077 || exit 1
cat > @RECORD@.new && sync @RECORD@.new && mv @RECORD@.new @RECORD@ && sync @FOLDER@
