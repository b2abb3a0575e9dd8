#!/usr/bin/env bash
# certificates.sh FOLDER: an authority and a certificate for 127.0.0.1 that it has signed, for both ends of a
# connection: ca.pem, cert.pem and key.pem for forebay, ca.p12 and key.p12 (password: interop) for Flink.
# RSA, for that is what the cipher suites of Flink's default need.
set -euo pipefail
mkdir -p "$1"
cd "$1"
openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj "/CN=interop authority" \
  -keyout ca-key.pem -out ca.pem
openssl req -new -newkey rsa:2048 -nodes -subj "/CN=interop" -keyout key.pem -out request.pem
openssl x509 -req -in request.pem -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 30 -out cert.pem \
  -extfile <(printf 'subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth,clientAuth\n')
openssl pkcs12 -export -in cert.pem -inkey key.pem -certfile ca.pem -name interop -passout pass:interop -out key.p12
keytool -importcert -noprompt -alias ca -file ca.pem -keystore ca.p12 -storetype PKCS12 -storepass interop
