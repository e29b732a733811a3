//! The known name that was probably meant, and the list of those there are.

/// So many names are listed; a pool may have thousands.
const MOST_LISTED: usize = 24;

/// The known name nearest to this one, when it is near enough for a slip: one edit in three characters, a swap of two
/// neighbours counting once, letter case and `_` for `-` not at all.
pub(super) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Longer ones are no names, and the comparison costs the product of the lengths.
    if name.len() > 128 {
        return None;
    }
    let plain = |name: &str| name.to_lowercase().replace('_', "-");
    let name = plain(name);
    let most = (name.chars().count() / 3).max(1);
    let distances = known
        .into_iter()
        .filter(|known| known.len() <= 128)
        .map(|known| (strsim::damerau_levenshtein(&name, &plain(known)), known));
    let (distance, known) = distances.min_by_key(|(distance, _)| *distance)?;
    (distance <= most).then_some(known)
}

/// `did you mean "web1"? servers: web1, web2`; `kind` in the singular.
pub(super) fn remedy(name: &str, kind: &str, known: &[&str]) -> String {
    if known.is_empty() {
        return format!("there is no {kind} yet: add one");
    }
    let guess = nearest(name, known.iter().copied())
        .map(|known| format!("did you mean `{known}`? "))
        .unwrap_or_default();
    let more = match known.len().checked_sub(MOST_LISTED) {
        Some(more @ 1..) => format!(" and {more} more"),
        _ => String::new(),
    };
    let listed = known[..known.len().min(MOST_LISTED)].join(", ");
    format!("{guess}known {kind}s: {listed}{more}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_name() {
        let known = ["weight", "name", "drain-timeout"];
        assert_eq!(nearest("wieght", known), Some("weight"));
        assert_eq!(nearest("drain_timeout", known), Some("drain-timeout"));
        assert_eq!(nearest("Name", known), Some("name"));
        assert_eq!(nearest("certificate", known), None);
        assert_eq!(nearest("x", known), None);
    }

    #[test]
    fn a_long_list_is_cut() {
        let names: Vec<String> = (0..100).map(|n| format!("web{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let remedy = remedy("zzz", "server", &names);
        assert!(remedy.ends_with("web23 and 76 more"), "{remedy}");
    }
}
