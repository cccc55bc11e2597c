//! `debug_dump=1`: the parameters as PHP's `var_dump` shows them, the key included. Real vendors do this.

use super::params::{Params, Value};

pub(super) fn var_dump(params: &Params) -> String {
    let mut text = format!("array({}) {{\n", params.iter().count());
    for (name, value) in params.iter() {
        text.push_str(&format!("  [\"{name}\"]=>\n"));
        match value {
            Value::Text(bytes) => text.push_str(&format!(
                "  string({}) \"{}\"\n",
                bytes.len(),
                String::from_utf8_lossy(bytes)
            )),
            Value::File(bytes) => text.push_str(&format!("  file({})\n", bytes.len())),
            Value::Array => text.push_str("  array(1) {\n  }\n"),
        }
    }
    text.push_str("}\n");
    text
}
