#!/bin/sh
# What a cluster needs for TLS, proofs between workers, and tokens: make-keys.sh FOLDER HOST…
# For a try: the one certificate is its own authority and names all HOSTs. What is there stays.
set -eu
cd "$1"
shift
umask 077

if [ ! -s cert.pem ]; then
	names=IP:127.0.0.1
	for host in "$@"; do names="$names,DNS:$host"; done
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 90 -subj /CN=onhand \
		-addext "subjectAltName=$names" -addext keyUsage=critical,digitalSignature,keyCertSign \
		-keyout key.pem -out cert.pem
fi
if [ ! -s peers ]; then
	# In two steps, so that half of it is never taken for the whole.
	{ echo require && onhand token secret; } >peers.new
	mv peers.new peers
fi
# Nobody has one yet: `onhand token create` puts them in, and workers see it within a second.
[ -s tokens.json ] || echo '{"tokens": []}' >tokens.json
