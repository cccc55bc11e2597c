//! The dashboard: files that hold no data, so that everybody may have them. Their script asks the API.

use bytes::Bytes;
use hyper::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderValue};
use hyper::{Response, StatusCode};

use super::answer::respond;
use crate::listen::Reply;

struct File {
    name: &'static str,
    content_type: &'static str,
    text: &'static str,
}

const INDEX: File = File {
    name: "index.html",
    content_type: "text/html; charset=utf-8",
    text: include_str!("page/index.html"),
};

const FILES: [File; 10] = [
    File {
        name: "style.css",
        content_type: "text/css; charset=utf-8",
        text: include_str!("page/style.css"),
    },
    script("main.js", include_str!("page/main.js")),
    script("ask.js", include_str!("page/ask.js")),
    script("draw.js", include_str!("page/draw.js")),
    script("units.js", include_str!("page/units.js")),
    script("pools.js", include_str!("page/pools.js")),
    script("keys.js", include_str!("page/keys.js")),
    script("tenants.js", include_str!("page/tenants.js")),
    script("traffic.js", include_str!("page/traffic.js")),
    script("lists.js", include_str!("page/lists.js")),
];

const fn script(name: &'static str, text: &'static str) -> File {
    File {
        name,
        content_type: "text/javascript; charset=utf-8",
        text,
    }
}

/// SECURITY: texts of the vendor and of the operator reach the page. It puts them in as text; should it ever put one in as
/// markup, nothing in there runs, loads or leaves. Nor can the page, which may hold a token, be shown inside another.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

pub(super) fn index() -> Response<Reply> {
    show(&INDEX)
}

/// By the name below `/dashboard/`.
pub(super) fn file(name: &str) -> Option<Response<Reply>> {
    FILES.iter().find(|file| file.name == name).map(show)
}

fn show(file: &File) -> Response<Reply> {
    let text = Bytes::from_static(file.text.as_bytes());
    let mut response = respond(StatusCode::OK, file.content_type, text);
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    // The next version of the program has other files under the same names.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_that_another_names_is_served() {
        let all = FILES.iter().chain([&INDEX]);
        let named = all.flat_map(|file| file.text.split(['"', '\'']).filter(is_own_path));
        let mut count = 0;
        for path in named {
            let name = path.rsplit('/').next().unwrap();
            assert!(file(name).is_some(), "{path}");
            count += 1;
        }
        assert!(count >= FILES.len(), "{count}");
    }

    #[test]
    fn no_file_names_another_host_or_holds_code_in_markup() {
        for file in FILES.iter().chain([&INDEX]) {
            let text = file.text.replace("http://www.w3.org/2000/svg", "");
            for forbidden in [
                "://",
                "innerHTML",
                "insertAdjacentHTML",
                " style=",
                " onclick",
                "eval(",
            ] {
                assert!(!text.contains(forbidden), "{}: {forbidden}", file.name);
            }
        }
    }

    fn is_own_path(text: &&str) -> bool {
        text.starts_with("/dashboard/") || (text.starts_with("./") && text.ends_with(".js"))
    }
}
