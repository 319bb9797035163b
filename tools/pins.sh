#!/bin/bash
# Writes requirements/dev.txt: what a fresh environment resolves to today, one `name==version` a line.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${1:?usage: tools/pins.sh PYTHON}
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT

"$python" -m venv "$fresh/venv"
"$fresh/venv/bin/pip" install --quiet --editable '.[dev,ray]'
{
    echo "# What \`make setup\` installs. Written by \`make pins\`; edit pyproject.toml instead."
    "$fresh/venv/bin/pip" freeze --exclude-editable
} > "$fresh/dev.txt"

# A pin with an address would tie every machine to the place this one installs from.
if grep -vE '^(#.*|[A-Za-z0-9._-]+==[A-Za-z0-9.!+_-]+)$' "$fresh/dev.txt"; then
    echo "pins: the lines above are not plain name==version; requirements/dev.txt is unchanged" >&2
    exit 1
fi
mkdir -p requirements
cp "$fresh/dev.txt" requirements/dev.txt
echo "pins: $(grep -c == requirements/dev.txt) packages in requirements/dev.txt"
