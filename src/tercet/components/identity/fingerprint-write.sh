#!/bin/sh
# Writes standard input as the record, completely or not at all.
mkdir -p @FOLDER@ && umask 077 || exit 1
cat > @RECORD@.new && sync @RECORD@.new && mv @RECORD@.new @RECORD@ && sync @FOLDER@
