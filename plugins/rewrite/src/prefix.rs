//! A prefix that ends at a segment boundary: `/api` is one of `/api` and `/api/x`, not of `/apix`.

/// Both sides without their last slash; empty stands for `/`.
pub struct Prefix {
    pub from: String,
    pub to: String,
    /// Tell the server what was taken away, as `x-forwarded-prefix`.
    pub forwarded: bool,
}

impl Prefix {
    /// What follows the prefix: empty, or from a slash on.
    pub fn rest<'a>(&self, path: &'a [u8]) -> Option<&'a [u8]> {
        let rest = path.strip_prefix(self.from.as_bytes())?;
        (rest.is_empty() || rest.starts_with(b"/")).then_some(rest)
    }

    pub fn apply(&self, path: &str) -> Option<String> {
        let rest = self.rest(path.as_bytes())?;
        Some(format!("{}{}", self.to, &path[path.len() - rest.len()..]))
    }
}
