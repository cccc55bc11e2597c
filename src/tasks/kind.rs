//! A task's type, as prices and reports name it, derived from what the client sent.

use crate::wire::Fields;

/// Every type that there is.
pub const ALL: [&str; 7] = [
    "bls",
    "geetest",
    "image",
    OTHER,
    "recaptcha_v2",
    "recaptcha_v3",
    "turnstile",
];
/// Of what has no name of its own.
pub const OTHER: &str = "other";

/// The type of that name. What another version wrote into the store may have another.
pub fn named(name: &str) -> &'static str {
    let known = ALL.into_iter().find(|kind| *kind == name);
    known.unwrap_or(OTHER)
}

pub fn of(fields: &Fields) -> &'static str {
    let method = fields.method.as_deref().unwrap_or_default();
    match method {
        "userrecaptcha" if fields.version.as_deref().is_some_and(is_v3) => "recaptcha_v3",
        "userrecaptcha" => "recaptcha_v2",
        "turnstile" | "cloudflare_challenge" => "turnstile",
        "geetest" | "geetest_v4" => "geetest",
        "bls" => "bls",
        "post" | "base64" => "image",
        // Image modules of CaptchaAI's solve.php come without a method.
        "" if fields.module.is_some() => "image",
        _ => OTHER,
    }
}

/// `version=v3`, and `enterprise_v3` at CaptchaAI.
fn is_v3(version: &str) -> bool {
    version.ends_with("v3")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_follows_method_version_and_module() {
        let of = |method: &str, version: Option<&str>, module: Option<&str>| {
            let kind = of(&Fields {
                method: Some(method.to_owned()).filter(|method| !method.is_empty()),
                version: version.map(str::to_owned),
                module: module.map(str::to_owned),
                ..Fields::default()
            });
            assert!(ALL.contains(&kind));
            kind
        };
        assert_eq!(of("userrecaptcha", None, None), "recaptcha_v2");
        assert_eq!(of("userrecaptcha", Some("v3"), None), "recaptcha_v3");
        assert_eq!(of("turnstile", None, None), "turnstile");
        assert_eq!(of("geetest_v4", None, None), "geetest");
        assert_eq!(of("bls", None, None), "bls");
        assert_eq!(of("base64", None, None), "image");
        assert_eq!(of("", None, Some("vk-fast")), "image");
        assert_eq!(of("", None, None), "other");
        assert_eq!(of("something-new", None, None), "other");
    }
}
