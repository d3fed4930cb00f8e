#!/bin/bash
# Holds the lock as long as it hears from the holder. Arguments: the platform, and a note on the holder.
# The note stays readable by others while the lock is held. It says the highest term that it knows, and reads the new
# one.
file=/run/lock/tercet-$1.lock
terms=/var/lib/tercet/terms
exec 9>>"$file" || exit 1
if ! flock -n 9; then
    echo refused; cat "$file"; exit 0
fi
printf '%s\n' "$2" > "$file"
mkdir -p "$terms" || exit 1
term=0
if [ -e "$terms/$1" ]; then read -r term < "$terms/$1" || exit 1; fi
echo "granted $term"
term=
while [ -z "$term" ]; do IFS= read -r -t @SILENCE@ term || exit 1; done  # signs of life are empty lines
printf '%s\n' "$term" > "$terms/.$1" && sync "$terms/.$1" && mv "$terms/.$1" "$terms/$1" && sync "$terms" || exit 1
echo "kept $term"
while IFS= read -r -t @SILENCE@ _; do :; done
: > "$file"
