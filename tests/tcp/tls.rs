//! TLS, with certificates made here.

use std::sync::OnceLock;

use forebay::transport::tcp::{Client, Server, ServerBuilder, StartError, TlsConfig, TlsError};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::support::{Observed, Raw, gate, pool, read_all, remote, serve, with_sources};

/// An authority, and a node that it has signed.
pub(crate) struct Signed {
    authority: String,
    certificate: String,
    key: String,
}

impl Signed {
    fn new(names: &[&str]) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &authority).unwrap();
        Self { authority: authority.pem(), certificate: certificate.pem(), key: key.serialize_pem() }
    }

    pub(crate) fn config(&self) -> TlsConfig {
        TlsConfig::from_pem(self.certificate.as_bytes(), self.key.as_bytes(), self.authority.as_bytes()).unwrap()
    }
}

pub(crate) fn ours() -> &'static Signed {
    static OURS: OnceLock<Signed> = OnceLock::new();
    OURS.get_or_init(|| Signed::new(&["localhost", "127.0.0.1"]))
}

fn server() -> ServerBuilder {
    Server::builder().tls(ours().config())
}

fn read_with(client: &Client, server: &Server) -> Result<u64, String> {
    let pool = pool(32);
    let (served, writing) = serve(server, &pool, 1, 300, 20_000);
    let read = read_all(gate(client, &pool, &[remote(server, 1, 0)]), 20_000);
    served.remove();
    let _ = writing.join().unwrap(); // the reader may have been refused
    read.map_err(|error| with_sources(&*error))
}

#[test]
fn both_sides_show_who_they_are() {
    let observed = Observed::start(server());
    let client = Client::builder().tls(ours().config()).start().unwrap();
    assert_eq!(read_with(&client, &observed.server).unwrap(), 300);
    drop(client);
}

#[test]
fn who_shows_nothing_is_refused_and_the_server_goes_on() {
    let observed = Observed::start(server());
    let stranger = TlsConfig::without_identity(ours().authority.as_bytes()).unwrap();
    let client = Client::builder().tls(stranger).start().unwrap();
    let error = read_with(&client, &observed.server).unwrap_err();
    assert!(error.contains("CertificateRequired"), "{error}");
    assert!(observed.ends(1)[0].starts_with("the handshake of TLS failed: "), "{:?}", observed.ends(1));

    let client = Client::builder().tls(ours().config()).start().unwrap();
    assert_eq!(read_with(&client, &observed.server).unwrap(), 300);
}

#[test]
fn certificates_of_others_are_refused_on_both_sides() {
    let others = Signed::new(&["127.0.0.1"]);
    // A client that trusts the server, and is not trusted.
    let config = TlsConfig::from_pem(others.certificate.as_bytes(), others.key.as_bytes(), ours().authority.as_bytes());
    let observed = Observed::start(server());
    let client = Client::builder().tls(config.unwrap()).start().unwrap();
    let error = read_with(&client, &observed.server).unwrap_err();
    assert!(error.contains(": the handshake of TLS failed: "), "{error}");
    // A client that does not trust the server.
    let client = Client::builder().tls(others.config()).start().unwrap();
    let error = read_with(&client, &observed.server).unwrap_err();
    assert!(error.contains("invalid peer certificate"), "{error}");
}

#[test]
fn the_name_must_be_the_servers_unless_any_will_do() {
    let elsewhere = Signed::new(&["elsewhere"]);
    let observed = Observed::start(Server::builder().tls(elsewhere.config()));
    let client = Client::builder().tls(elsewhere.config()).start().unwrap();
    let error = read_with(&client, &observed.server).unwrap_err();
    assert!(error.contains("not valid for name"), "{error}");
    let client = Client::builder().tls(elsewhere.config().any_server_name()).start().unwrap();
    assert_eq!(read_with(&client, &observed.server).unwrap(), 300);
}

#[test]
fn plain_and_tls_do_not_mix() {
    let observed = Observed::start(server());
    let client = Client::builder().start().unwrap();
    let error = read_with(&client, &observed.server).unwrap_err();
    assert!(error.contains("the peer speaks TLS"), "{error}");

    let plain = Observed::start(Server::builder());
    let client = Client::builder().tls(ours().config()).start().unwrap();
    let error = read_with(&client, &plain.server).unwrap_err();
    assert!(error.contains(": the handshake of TLS failed: "), "{error}");
    assert!(plain.ends(1)[0].contains("does not speak the protocol"), "{:?}", plain.ends(1));

    let mut raw = Raw::connect(observed.address());
    raw.send(b"GET / HTTP/1.1\r\n\r\n");
    raw.read_to_end();
    assert!(
        observed.ends(2).iter().all(|end| end.starts_with("the handshake of TLS failed: ")),
        "{:?}",
        observed.ends(2)
    );
}

#[test]
fn what_is_no_certificate_is_named() {
    let ours = ours();
    let bad = |certificate: &str, key: &str, authority: &str| {
        TlsConfig::from_pem(certificate.as_bytes(), key.as_bytes(), authority.as_bytes()).unwrap_err().to_string()
    };
    assert_eq!(bad("", &ours.key, &ours.authority), "the certificate: no certificate in PEM form");
    assert_eq!(bad(&ours.certificate, &ours.key, "nonsense"), "the authorities: no certificate in PEM form");
    assert!(bad(&ours.certificate, &ours.certificate, &ours.authority).starts_with("the key: no private key in PEM"));
    let missing = TlsConfig::from_pem_files("no/such.pem".as_ref(), "k".as_ref(), "a".as_ref()).unwrap_err();
    assert!(matches!(&missing, TlsError::Read { file, .. } if file == "no/such.pem"), "{missing}");

    let nobody = TlsConfig::without_identity(ours.authority.as_bytes()).unwrap();
    let refused = Server::builder().tls(nobody).start("127.0.0.1:0");
    assert!(matches!(refused, Err(StartError::Tls(TlsError::NoIdentity))));
    let others = Signed::new(&["127.0.0.1"]);
    let mixed = TlsConfig::from_pem(ours.certificate.as_bytes(), others.key.as_bytes(), ours.authority.as_bytes());
    let refused = Server::builder().tls(mixed.unwrap()).start("127.0.0.1:0");
    assert!(matches!(refused, Err(StartError::Tls(TlsError::Unusable(_)))));
}
