use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::*;

fn hosts(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn make_in(dir: &Path, names: &[&str]) -> Result<Made, MakeError> {
    make(dir, hosts(names), SystemTime::now(), 90)
}

fn content(dir: &Path) -> [String; 4] {
    ["ca.pem", "ca-key.pem", "cert.pem", "key.pem"]
        .map(|name| fs::read_to_string(dir.join(name)).unwrap())
}

#[test]
fn run_again_the_authority_stays_and_the_certificate_is_new() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("not/there/yet");
    assert!(
        make_in(&dir, &["b.com", "a.com", "b.com"])
            .unwrap()
            .is_new_authority
    );
    let [ca, ca_key, cert, key] = content(&dir);
    assert!(!make_in(&dir, &["a.com"]).unwrap().is_new_authority);
    let again = content(&dir);
    assert_eq!(again[..2], [ca.clone(), ca_key]);
    assert!(again[2] != cert && again[3] != key);
    assert!(again[2].ends_with(&ca), "cert.pem is a chain");
}

#[test]
fn keys_are_for_their_owner_only() {
    let dir = tempfile::tempdir().unwrap();
    make_in(dir.path(), &["a.com"]).unwrap();
    for (name, mode) in [
        ("ca-key.pem", 0o600),
        ("key.pem", 0o600),
        ("ca.pem", 0o644),
        ("cert.pem", 0o644),
    ] {
        let found = fs::metadata(dir.path().join(name)).unwrap().permissions();
        // A umask may take more away.
        assert_eq!(found.mode() & 0o777 & !mode, 0, "{name}");
    }
}

#[test]
fn a_stolen_authority_signs_for_its_names_only() {
    let dir = tempfile::tempdir().unwrap();
    make_in(dir.path(), &["2captcha.com"]).unwrap();
    make_in(dir.path(), &["api.2captcha.com"]).unwrap();
    let before = content(dir.path());
    for other in ["example.com", "evil2captcha.com", "com"] {
        let refused = make_in(dir.path(), &["2captcha.com", other]).err().unwrap();
        let said = refused.to_string();
        assert!(
            said.contains(other) && said.contains("remove ca.pem"),
            "{said}"
        );
    }
    // Past our own check of names, as a thief would.
    let kept = kept(dir.path()).unwrap().unwrap();
    let authority = Authority::read(&kept).unwrap();
    let now = SystemTime::now();
    let until = now + Duration::from_secs(3600);
    for address in ["127.0.0.1", "::1"] {
        assert!(
            authority.issue(&hosts(&[address]), now, until).is_err(),
            "{address}"
        );
    }
    assert_eq!(content(dir.path()), before, "nothing was written");
}

#[test]
fn half_an_authority_and_one_with_anothers_key_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    make_in(dir.path(), &["a.com"]).unwrap();
    make_in(other.path(), &["a.com"]).unwrap();
    fs::copy(
        other.path().join("ca-key.pem"),
        dir.path().join("ca-key.pem"),
    )
    .unwrap();
    let said = make_in(dir.path(), &["a.com"]).err().unwrap().to_string();
    assert!(said.contains("clients would refuse"), "{said}");
    fs::remove_file(dir.path().join("ca-key.pem")).unwrap();
    let said = make_in(dir.path(), &["a.com"]).err().unwrap().to_string();
    assert!(said.contains("ca-key.pem"), "{said}");
    fs::write(dir.path().join("ca-key.pem"), "no key").unwrap();
    let said = make_in(dir.path(), &["a.com"]).err().unwrap().to_string();
    assert!(said.contains("holds no private key"), "{said}");
}

#[test]
fn what_is_no_host_name_is_refused() {
    for good in [
        "2captcha.com",
        "localhost",
        "xn--bcher-kva.example",
        "a_b.example",
    ] {
        assert!(is_host(good), "{good}");
    }
    for bad in [
        "",
        "127.0.0.1",
        "::1",
        "*.a.com",
        "a.com:443",
        "https://a.com",
        "a..com",
        "-a.com",
        "ä.com",
    ] {
        assert!(!is_host(bad), "{bad}");
    }
    let name = host("2Captcha.COM").unwrap();
    assert_eq!(name, "2captcha.com");
}

#[test]
fn it_is_for_the_configured_vendor_when_no_host_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("sidekey.toml");
    // As it is written before the certificate is there.
    fs::write(
        &config,
        "[listen]\nhttps = [\"127.0.0.1:443\"]\ntls_cert = \"tls/cert.pem\"\ntls_key = \"tls/key.pem\"\n\
         [vendor]\nprofile = \"2captcha\"\nurl = \"https://mirror.example\"\n",
    )
    .unwrap();
    let args = Args {
        hosts: Vec::new(),
        out: dir.path().join("tls"),
        days: 30,
        config: Some(config),
    };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let environment = Environment::default();
    let code = run(&args, environment.clone(), &mut out, &mut err).unwrap();
    let said = String::from_utf8(out).unwrap();
    assert_eq!((code, String::from_utf8(err).unwrap().as_str()), (0, ""));
    assert!(
        said.contains("127.0.0.1 2captcha.com mirror.example\n"),
        "{said}"
    );
    assert!(
        said.contains("NODE_EXTRA_CA_CERTS=") && said.contains("resolver = \"dns\""),
        "{said}"
    );
    let pem = fs::read(dir.path().join("tls/cert.pem")).unwrap();
    assert_eq!(CertificateDer::pem_slice_iter(&pem).count(), 2);
    let mut out = Vec::new();
    run(&args, environment, &mut out, &mut Vec::new()).unwrap();
    let said = String::from_utf8(out).unwrap();
    assert!(
        said.contains("the CA is the same") && !said.contains("NODE"),
        "{said}"
    );
}
