//! Hiding secrets that dispatcherd can't know: the ones that are encoded, or come from a cluster.

/// What stands in their place.
pub(crate) const HIDDEN: &str = "********";
/// Shorter ones would hide half of every line.
const SHORTEST: usize = 6;

/// The texts to hide.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mask(Vec<String>);

impl Mask {
    /// Hides a text from now on, line by line.
    pub(crate) fn add(&mut self, secret: &str) {
        let lines = secret.lines().map(str::trim).filter(|line| line.len() >= SHORTEST);
        self.0.extend(lines.map(str::to_owned));
        // What holds another one goes first.
        self.0.sort_unstable_by_key(|secret| std::cmp::Reverse(secret.len()));
        self.0.dedup();
    }

    /// The text without them.
    pub(crate) fn hide(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), HIDDEN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_goes_first_and_short_ones_stay() {
        let mut mask = Mask::default();
        mask.add("secret");
        mask.add("secret-and-more\nshort\nline-two");
        assert_eq!(mask.hide("secret-and-more short line-two secret"), "******** short ******** ********");
    }
}
