//! Headers that an operator names in a plugin's settings. Checked when the plugin is configured, a wrong one is refused in
//! words; found out with the first request, it is a bad answer and the call fails.

/// The name in lower case. Refused are what is no token (RFC 9110, 5.1) and the fields that belong to the connection or say
/// where a message ends, which are the proxy's own.
///
/// ```
/// use tidegate_sdk::field;
/// assert_eq!(field::name("X-Real-Ip").unwrap(), "x-real-ip");
/// assert!(field::name("x y").is_err());
/// assert!(field::name("Content-Length").is_err());
/// ```
pub fn name(written: &str) -> Result<String, String> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    let lower = written.to_ascii_lowercase();
    if written.is_empty() || !written.bytes().all(token) {
        return Err(format!(
            "`{written}` is no header name: letters, digits and `-` make one"
        ));
    }
    if OWN.contains(&lower.as_str()) {
        return Err(format!(
            "`{written}` belongs to the proxy itself (framing or hop-by-hop); no plugin may change it"
        ));
    }
    Ok(lower)
}

/// The longest value, in bytes: what servers and browsers take as a matter of course.
pub const LONGEST: usize = 8 * 1024;

/// The value, when it is not too long and holds no control character but the tab.
///
/// ```
/// use tidegate_sdk::field;
/// assert_eq!(field::value("max-age=60"), Ok("max-age=60"));
/// assert!(field::value("a\r\nset-cookie: b").is_err());
/// ```
pub fn value(written: &str) -> Result<&str, String> {
    if written.len() > LONGEST {
        return Err(format!(
            "a header's value of {} bytes is too long: at most {LONGEST} are taken",
            written.len()
        ));
    }
    if written.bytes().any(|b| b.is_ascii_control() && b != b'\t') {
        return Err(format!(
            "{written:?} holds a control character, which no header may"
        ));
    }
    Ok(written)
}

/// RFC 9110, 7.6.1, and the framing of RFC 9112, 6.
const OWN: &[&str] = &[
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
];
