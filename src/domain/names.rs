//! Names in a sentence.

/// How many of them stand there.
const MOST: usize = 8;

/// The first names, and how many more there are.
#[must_use]
pub fn some_of(names: &[impl AsRef<str>]) -> String {
    let first: Vec<&str> = names.iter().take(MOST).map(AsRef::as_ref).collect();
    let (first, more) = (first.join(", "), names.len().saturating_sub(MOST));
    if more > 0 { format!("{first} and {more} more") } else { first }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_holds_eight_names() {
        let names: Vec<String> = (1..=9).map(|number| number.to_string()).collect();
        assert_eq!(some_of(&names[..8]), "1, 2, 3, 4, 5, 6, 7, 8");
        assert_eq!(some_of(&names), "1, 2, 3, 4, 5, 6, 7, 8 and 1 more");
    }
}
