//! With a certificate the server speaks TLS and nothing else; a certificate or key that cannot be used is named before
//! anything starts.
#![cfg(all(feature = "sql", feature = "tls"))]

#[path = "support/binary/mod.rs"]
mod binary;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use binary::process::Job;
use graviola::signing::eddsa::Ed25519SigningKey;
use rcgen::{CertificateParams, PKCS_ED25519, PublicKeyData, SignatureAlgorithm, SigningKey};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, Stream};

const TOPOLOGY: &str = r#"
[job]
name = "secret"
[checkpoint]
interval = "100ms"
[http]
listen = "0"
token = "open sesame"
tls = { certificate = "tls/certificate.pem", key = "tls/key.pem" }
[sources.numbers]
type = "generate"
rows = 100000000
rate = "1000/s"
[sinks.nothing]
type = "blackhole"
inputs = ["numbers"]
"#;

struct Key {
    key: Ed25519SigningKey,
    public: [u8; 32],
}

impl Key {
    fn new() -> Key {
        let key = Ed25519SigningKey::generate().unwrap();
        Key { public: key.public_key().as_bytes(), key }
    }

    fn pem(&self) -> String {
        let mut room = [0; 128];
        pem("PRIVATE KEY", self.key.to_pkcs8_der(&mut room).unwrap())
    }

    fn certificate(&self, name: &str) -> CertificateDer<'static> {
        let mut params = CertificateParams::new([name.to_string()]).unwrap();
        params.serial_number = Some(1.into());
        params.self_signed(self).unwrap().into()
    }
}

impl PublicKeyData for Key {
    fn der_bytes(&self) -> &[u8] {
        &self.public
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ED25519
    }
}

impl SigningKey for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(self.key.sign(message).to_vec())
    }
}

/// Writes bytes in base64 between two lines that say what they are.
fn pem(what: &str, bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for (index, three) in bytes.chunks(3).enumerate() {
        if index > 0 && index % 16 == 0 {
            text.push('\n');
        }
        let number = (0..3).fold(0, |number, at| number << 8 | usize::from(three.get(at).copied().unwrap_or(0)));
        for at in 0..4 {
            let letter = char::from(LETTERS[number >> (18 - 6 * at) & 63]);
            text.push(if at <= three.len() { letter } else { '=' });
        }
    }
    format!("-----BEGIN {what}-----\n{text}\n-----END {what}-----\n")
}

fn write(folder: &Path, certificate: &str, key: &str) {
    std::fs::create_dir_all(folder.join("tls")).unwrap();
    std::fs::write(folder.join("tls/certificate.pem"), certificate).unwrap();
    std::fs::write(folder.join("tls/key.pem"), key).unwrap();
}

/// Asks by TLS as somebody who trusts one certificate; returns what is answered.
fn ask(address: &str, trusted: CertificateDer<'static>, request: &str) -> Result<String, std::io::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls_graviola::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let mut connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut socket = TcpStream::connect(address).unwrap();
    let mut stream = Stream::new(&mut connection, &mut socket);
    write!(stream, "GET {request}\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[test]
fn a_job_with_a_certificate_answers_by_tls_alone_and_still_asks_for_its_token() {
    let folder = tempfile::tempdir().unwrap();
    let job = Job::new(folder.path(), TOPOLOGY);
    let key = Key::new();
    let certificate = key.certificate("localhost");
    write(folder.path(), &pem("CERTIFICATE", &certificate), &key.pem());
    let mut life = job.start(&[]);
    job.wait_for(&mut life, "a checkpoint", |events| events.iter().any(|event| event["event"] == "committed"));
    let said = life.said();
    let (_, rest) = said.split_once("page, API and metrics: https://").expect("it says where it listens");
    let address = rest.split('/').next().unwrap();

    let with_token = "/api/jobs HTTP/1.1\r\nAuthorization: Bearer open sesame";
    let answer = ask(address, certificate.clone(), with_token).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("\"secret\""), "{answer}");
    let answer = ask(address, certificate, "/api/jobs HTTP/1.1").unwrap();
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");

    let other = Key::new().certificate("localhost");
    let refused = ask(address, other, with_token).unwrap_err();
    assert!(refused.to_string().contains("certificate"), "{refused}");

    let mut plain = TcpStream::connect(address).unwrap();
    // In one piece: it may be closed after the first.
    let request = format!("GET {with_token}\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    plain.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    // Whether the connection is closed or cut off does not matter.
    plain.read_to_end(&mut answer).ok();
    assert!(!String::from_utf8_lossy(&answer).contains("HTTP/1.1"), "without TLS: {answer:?}");
}

#[test]
fn the_terminal_shows_a_job_that_answers_by_tls_to_whoever_believes_its_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let job = Job::new(folder.path(), TOPOLOGY);
    let key = Key::new();
    let certificate = key.certificate("127.0.0.1");
    write(folder.path(), &pem("CERTIFICATE", &certificate), &key.pem());
    let mut life = job.start(&[]);
    job.wait_for(&mut life, "a checkpoint", |events| events.iter().any(|event| event["event"] == "committed"));
    let said = life.said();
    let (_, rest) = said.split_once("page, API and metrics: https://").expect("it says where it listens");
    let address = rest.split('/').next().unwrap();

    let top = |args: &[&str], trusted: &str| {
        let mut command = std::process::Command::new(binary::process::piton());
        command.args(["top", "--once"]).args(args).env("PITON__HTTP__TOKEN", "open sesame");
        command.env("SSL_CERT_FILE", folder.path().join(trusted)).env_remove("SSL_CERT_DIR");
        job.spawn(command).wait()
    };
    let url = format!("https://{address}");
    assert!(top(&[&url], "tls/certificate.pem").expect(0).stdout.starts_with("secret: running"));
    std::fs::write(folder.path().join("other.pem"), pem("CERTIFICATE", &Key::new().certificate("127.0.0.1"))).unwrap();
    top(&[&url], "other.pem").expect(1).says(&["nobody answers at https://", "certificate"]);
    // By its file, which names the certificate.
    let file = job.path("job.toml");
    let listen = format!("http.listen=\"{address}\"");
    let by_file = top(&[file.to_str().unwrap(), "--set", &listen], "other.pem");
    assert!(by_file.expect(0).stdout.starts_with("secret: running"));
    life.signal("TERM");
    life.wait().expect(0);
}

#[test]
fn what_is_wrong_with_a_certificate_or_its_key_is_said_with_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let job = Job::new(folder.path(), TOPOLOGY);
    let key = Key::new();
    let certificate = pem("CERTIFICATE", &key.certificate("localhost"));
    let refused = |words: &[&str]| {
        job.run(&[]).expect(2).says(words);
        assert!(!job.path(".piton").exists(), "something was started");
    };
    refused(&["http.tls.certificate", "tls/certificate.pem", "there is no such file"]);
    write(folder.path(), "hello", &key.pem());
    refused(&["tls/certificate.pem", "no certificate in PEM"]);
    write(folder.path(), &pem("CERTIFICATE", b"hello"), &key.pem());
    refused(&["tls/certificate.pem", "the certificate cannot be used"]);
    write(folder.path(), &certificate, "");
    refused(&["http.tls.key", "tls/key.pem", "no key in PEM"]);
    write(folder.path(), &certificate, &pem("PRIVATE KEY", b"hello"));
    refused(&["http.tls.key", "tls/key.pem", "the key cannot be used"]);
    write(folder.path(), &certificate, "-----BEGIN PRIVATE KEY-----\n!!!\n-----END PRIVATE KEY-----\n");
    refused(&["http.tls.key", "tls/key.pem", "is not PEM"]);
    write(folder.path(), &certificate, &Key::new().pem());
    refused(&["tls/key.pem", "is not that of the certificate", "tls/certificate.pem"]);
    // Neither file makes a token needless.
    write(folder.path(), &certificate, &key.pem());
    job.run(&["--http", "0.0.0.0:0", "--set", "http.token=\"\""]).expect(2).says(&["0.0.0.0", "http.token"]);
}
