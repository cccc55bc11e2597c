//! A CA for a few names, and what it signs. Pure but for chance: no files, and `now` is a parameter.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    NameConstraints, PublicKeyData,
};
use rustls::RootCertStore;
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::aws_lc_rs;
use rustls::server::ParsedCertificate;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// A certificate and its private key, in PEM.
#[derive(Clone)]
pub(super) struct Pem {
    pub(super) certificate: String,
    pub(super) key: Zeroizing<String>,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum IssueError {
    #[error("ca-key.pem holds no private key that can sign")]
    Key,
    #[error("ca.pem holds no certificate")]
    Certificate,
    #[error("a certificate cannot be made: {0}")]
    Make(#[from] rcgen::Error),
    /// What we made is judged as a client would, so that no client meets what we did not think of.
    #[error(
        "clients would refuse a certificate for {hosts} by this CA ({why}). A CA signs only for the names it was made \
         for: remove ca.pem and ca-key.pem for a new one, and give its ca.pem to the clients"
    )]
    Refused { hosts: String, why: rustls::Error },
}

pub(super) struct Authority {
    pem: Pem,
    issuer: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
}

impl Authority {
    pub(super) fn new(hosts: &[String], now: SystemTime) -> Result<Self, IssueError> {
        let key = KeyPair::generate()?;
        let mut params = of(&key);
        params.not_before = (now - CLOCKS_DIFFER).into();
        params.not_after = (now + LIFE).into();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        // SECURITY: whoever steals the key can be the vendor towards these clients, and nobody else. Constraints bind
        // only the kinds of names that they mention, so addresses are excluded, too.
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: hosts.iter().cloned().map(GeneralSubtree::DnsName).collect(),
            excluded_subtrees: [
                IpAddr::from(Ipv4Addr::UNSPECIFIED),
                Ipv6Addr::UNSPECIFIED.into(),
            ]
            .map(|any| GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(any, 0)))
            .into(),
        });
        let certificate = params.self_signed(&key)?.pem();
        let pem = Pem {
            certificate,
            key: key.serialize_pem().into(),
        };
        Self::read(&pem)
    }

    pub(super) fn read(pem: &Pem) -> Result<Self, IssueError> {
        let key = KeyPair::from_pem(&pem.key).map_err(|_| IssueError::Key)?;
        let root = CertificateDer::from_pem_slice(pem.certificate.as_bytes())
            .map_err(|_| IssueError::Certificate)?;
        Ok(Self {
            issuer: Issuer::new(of(&key), key),
            pem: pem.clone(),
            root,
        })
    }

    pub(super) fn pem(&self) -> &Pem {
        &self.pem
    }

    /// With the CA's certificate behind it, as a server sends it.
    pub(super) fn issue(
        &self,
        hosts: &[String],
        now: SystemTime,
        until: SystemTime,
    ) -> Result<Pem, IssueError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(hosts)?;
        params.not_before = (now - CLOCKS_DIFFER).into();
        params.not_after = until.into();
        // Names are read from the list of alternative names alone; a common name may be too long for a long host.
        params.distinguished_name = DistinguishedName::new();
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        // OpenSSL's strict mode, which Python 3.13 turned on, wants to be told who signed.
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer)?;
        self.judge(certificate.der(), hosts, now)
            .map_err(|why| IssueError::Refused {
                hosts: hosts.join(" "),
                why,
            })?;
        Ok(Pem {
            certificate: certificate.pem() + &self.pem.certificate,
            key: key.serialize_pem().into(),
        })
    }

    fn judge(
        &self,
        certificate: &CertificateDer<'_>,
        hosts: &[String],
        now: SystemTime,
    ) -> Result<(), rustls::Error> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone())?;
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let certificate = ParsedCertificate::try_from(certificate)?;
        let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
        verify_server_cert_signed_by_trust_anchor(
            &certificate,
            &roots,
            &[],
            UnixTime::since_unix_epoch(since),
            algorithms.all,
        )?;
        hosts.iter().try_for_each(|host| {
            let name = ServerName::try_from(host.as_str())
                .map_err(|_| rustls::Error::General("not a host name".to_owned()))?;
            verify_server_name(&certificate, &name)
        })
    }
}

/// What a certificate of this key as a CA says of itself; made from the key alone, so that the CA can sign again later
/// without its certificate being taken apart.
fn of(key: &KeyPair) -> CertificateParams {
    let digest = Sha256::digest(key.subject_public_key_info());
    let digits: String = digest[..4].iter().map(|b| format!("{b:02x}")).collect();
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    // With a name of its own, because clients look a CA up by its name, and may trust two of ours.
    params
        .distinguished_name
        .push(DnType::CommonName, format!("Sidekey CA {digits}"));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// A name in a certificate, no address and no wildcard.
pub(super) fn is_host(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    };
    name.len() <= 253 && name.split('.').all(is_label) && name.parse::<IpAddr>().is_err()
}

/// The clock of a client may be behind ours.
const CLOCKS_DIFFER: Duration = Duration::from_secs(24 * 3600);
/// Giving a CA to every client is the hard part, so it should outlive them.
const LIFE: Duration = Duration::from_secs(3652 * 24 * 3600);
