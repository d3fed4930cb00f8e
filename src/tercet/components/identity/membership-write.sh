#!/bin/sh
# Writes standard input as the record, completely or not at all. If standard input is empty, removes the record.
mkdir -p @FOLDER@ && cat > @RECORD@.new && sync @RECORD@.new || exit 1
if [ -s @RECORD@.new ]; then mv @RECORD@.new @RECORD@; else rm -f @RECORD@.new @RECORD@; fi
sync @FOLDER@
