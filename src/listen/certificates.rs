//! The certificate of the TLS listeners, replaced while they serve.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use zeroize::Zeroizing;

use super::expiry::not_after;
use super::line::Socket;
use crate::config::settings::TlsFiles;

/// Nothing of a file's content is in here: one of the two is a private key.
#[derive(Debug, thiserror::Error)]
pub enum CertError {
    #[error("cannot read {path}: {source}", path = path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} holds no readable PEM certificate", path = .0.display())]
    Certificate(PathBuf),
    #[error("{path} holds no readable PEM private key", path = .0.display())]
    Key(PathBuf),
    #[error("the key in {key} cannot be used with the certificate in {cert}: {source}", key = files.key.display(), cert = files.cert.display())]
    Pair {
        files: TlsFiles,
        source: rustls::Error,
    },
    #[error("this build of the TLS library lacks TLS 1.2 or 1.3: {0}")]
    Versions(rustls::Error),
}

/// Cheap to clone; all clones serve the same certificate.
#[derive(Clone)]
pub struct Certificates {
    shared: Arc<Shared>,
    acceptor: TlsAcceptor,
}

struct Shared {
    files: TlsFiles,
    current: Arc<Current>,
    /// Content that was judged last, good or bad, so that each is judged and reported once.
    seen: Mutex<[u8; 32]>,
}

#[derive(Debug)]
struct Current(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl Certificates {
    pub fn load(files: &TlsFiles) -> Result<Self, CertError> {
        let pair = Pair::read(files)?;
        let current = Arc::new(Current(ArcSwap::from_pointee(pair.certified(files)?)));
        let mut config =
            ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
                .map_err(CertError::Versions)?
                .with_no_client_auth()
                .with_cert_resolver(Arc::clone(&current) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let shared = Shared {
            files: files.clone(),
            current,
            seen: Mutex::new(pair.digest()),
        };
        Ok(Self {
            shared: Arc::new(shared),
            acceptor: TlsAcceptor::from(Arc::new(config)),
        })
    }

    /// Reads the files again; `true` if a new certificate is in use now. Whatever is wrong with them, the old one goes
    /// on: an error is returned each time the files cannot be read, and once for each bad content.
    pub fn reload(&self) -> Result<bool, CertError> {
        let Shared {
            files,
            current,
            seen,
        } = &*self.shared;
        let pair = Pair::read(files)?;
        let digest = pair.digest();
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen == digest {
            return Ok(false);
        }
        *seen = digest;
        current.0.store(Arc::new(pair.certified(files)?));
        Ok(true)
    }

    /// Since 1970, of whichever in the chain ends first; clients want all of it. `None` where none says it readably.
    pub fn end(&self) -> Option<Duration> {
        let certified = self.shared.current.0.load();
        let ends = certified.cert.iter().map(|der| not_after(der));
        ends.flatten().min()
    }

    pub(super) async fn handshake(&self, socket: Socket) -> io::Result<TlsStream<Socket>> {
        self.acceptor.accept(socket).await
    }
}

/// Both files, as read.
struct Pair {
    cert: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
}

impl Pair {
    fn read(files: &TlsFiles) -> Result<Self, CertError> {
        let read = |path: &Path| {
            std::fs::read(path).map_err(|source| CertError::Read {
                path: path.to_owned(),
                source,
            })
        };
        Ok(Self {
            cert: read(&files.cert)?,
            key: Zeroizing::new(read(&files.key)?),
        })
    }

    fn digest(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        digest.update((self.cert.len() as u64).to_be_bytes());
        digest.update(&self.cert);
        digest.update(&*self.key);
        digest.finalize().into()
    }

    fn certified(&self, files: &TlsFiles) -> Result<CertifiedKey, CertError> {
        let chain = CertificateDer::pem_slice_iter(&self.cert)
            .collect::<Result<Vec<_>, _>>()
            .ok()
            .filter(|chain| !chain.is_empty())
            .ok_or_else(|| CertError::Certificate(files.cert.clone()))?;
        let key = PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|_| CertError::Key(files.key.clone()))?;
        CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).map_err(|source| {
            CertError::Pair {
                files: files.clone(),
                source,
            }
        })
    }
}
