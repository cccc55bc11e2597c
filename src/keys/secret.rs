//! A key's value, which is shown to nobody but the vendor, and what stands for it everywhere else.

use std::fmt;

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroize;

/// Text that must never be printed, logged or serialised. There is no `Serialize` and `Debug` says nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<[u8]>);

impl Secret {
    pub fn new(value: impl Into<Vec<u8>>) -> Self {
        Self(value.into().into_boxed_slice())
    }

    /// The bytes themselves, for the outgoing request and for the identity. Grep for this name to see who looks.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    pub fn expose_bytes(&self) -> Bytes {
        Bytes::copy_from_slice(&self.0)
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Kept in the store, so that identities are the same after a restart.
#[derive(Clone, PartialEq, Eq)]
pub struct Salt(pub [u8; 32]);

impl fmt::Debug for Salt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Salt(…)")
    }
}

/// HMAC-SHA-256 of a key's value: which value it was, without saying it. Health follows the identity.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity(pub [u8; 32]);

impl Identity {
    pub fn of(value: &Secret, salt: &Salt) -> Self {
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(&salt.0)
            .unwrap_or_else(|_| unreachable!("HMAC takes a key of any length"));
        mac.update(value.expose());
        Self(mac.finalize().into_bytes().into())
    }

    /// Eight hex digits, for people. Never used to tell keys apart.
    pub fn fingerprint(&self) -> String {
        self.0[..4].iter().map(|b| format!("{b:02x}")).collect()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.fingerprint())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_says_nothing_of_the_value() {
        let secret = Secret::new("0123456789abcdef0123456789abcdef");
        assert_eq!(format!("{secret:?}"), "Secret(…)");
    }

    #[test]
    fn identity_depends_on_value_and_salt() {
        let (a, b) = (Secret::new("a"), Secret::new("b"));
        let (s, t) = (Salt([1; 32]), Salt([2; 32]));
        assert_eq!(Identity::of(&a, &s), Identity::of(&a, &s));
        assert_ne!(Identity::of(&a, &s), Identity::of(&b, &s));
        assert_ne!(Identity::of(&a, &s), Identity::of(&a, &t));
    }
}
