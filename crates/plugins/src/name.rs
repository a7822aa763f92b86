//! Names that are the same in every attempt, and different for different things.

use sha2::{Digest as _, Sha256};

/// How many characters of the readable part are kept: with the hash and a prefix of six it still fits into a DNS label.
const READABLE: usize = 40;

/// A name out of a-z, 0-9 and `-`, a letter or digit at both ends, of at most 57 characters: as much of `readable` as can be
/// kept, and a hash of `parts`, which tell one thing from another. The hash is so long that nobody who may choose a name finds
/// one that comes to the same as somebody else's.
pub(crate) fn of(readable: &str, parts: &[&str]) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    let hash = hex::encode(&digest.finalize()[..8]);
    let kept: String = readable
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
        .take(READABLE)
        .collect();
    match kept.trim_matches('-') {
        "" => hash,
        kept => format!("{kept}-{hash}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_has_another_name_however_alike_it_reads() {
        let one = of("Example.test", &["site", "Example.test"]);
        assert!(one.starts_with("example-test-"), "{one}");
        assert_ne!(one, of("example:test", &["site", "example:test"]));
        assert_ne!(of("a", &["ab", "c"]), of("a", &["a", "bc"]));
        assert_eq!(one, of("Example.test", &["site", "Example.test"]));
    }

    #[test]
    fn a_name_is_a_label_of_at_most_57_characters() {
        for readable in ["", "---", &"x".repeat(300), &"x.".repeat(90), "é"] {
            let name = of(readable, &[readable]);
            assert!(!name.is_empty() && name.len() <= 57, "{name}");
            assert!(!name.starts_with('-') && !name.ends_with('-'), "{name}");
        }
    }
}
