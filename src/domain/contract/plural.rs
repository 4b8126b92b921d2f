//! English plurals, for the names of categories: a key of a document reads `entities_added`, whatever the builder calls the
//! category. Categories are single words, or several with underscores between, of which the last one counts.

/// Words without a plural form of their own.
const UNCOUNTABLE: [&str; 16] = [
    "analytics",
    "content",
    "data",
    "feedback",
    "hardware",
    "information",
    "logic",
    "media",
    "metadata",
    "middleware",
    "news",
    "series",
    "software",
    "species",
    "storage",
    "traffic",
];

/// Words whose plural follows no rule.
const IRREGULAR: [(&str, &str); 10] = [
    ("child", "children"),
    ("criterion", "criteria"),
    ("foot", "feet"),
    ("leaf", "leaves"),
    ("man", "men"),
    ("person", "people"),
    ("shelf", "shelves"),
    ("half", "halves"),
    ("vertex", "vertices"),
    ("woman", "women"),
];

/// The plural of a category's name. What is one already stays as it is.
#[must_use]
pub fn plural(category: &str) -> String {
    match category.rsplit_once('_') {
        Some((before, last)) => format!("{before}_{}", of_word(last)),
        None => of_word(category),
    }
}

fn of_word(word: &str) -> String {
    if UNCOUNTABLE.contains(&word) || IRREGULAR.iter().any(|(_, plural)| *plural == word) {
        return word.to_owned();
    }
    if let Some((_, plural)) = IRREGULAR.iter().find(|(singular, _)| *singular == word) {
        return (*plural).to_owned();
    }
    if let Some(stem) = word.strip_suffix("sis") {
        return format!("{stem}ses");
    }
    let ends = |endings: &[&str]| endings.iter().any(|ending| word.ends_with(ending));
    if ends(&["ss", "us", "x", "z", "ch", "sh"]) {
        return format!("{word}es");
    }
    // What else ends in s is a plural.
    if ends(&["s"]) || !word.ends_with(|last: char| last.is_ascii_alphabetic()) {
        return word.to_owned();
    }
    match word.strip_suffix('y') {
        Some(stem) if !stem.ends_with(['a', 'e', 'i', 'o', 'u']) => format!("{stem}ies"),
        _ => format!("{word}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn singulars_become_plurals() {
        for (singular, expected) in [
            ("entity", "entities"),
            ("flow", "flows"),
            ("page", "pages"),
            ("key", "keys"),
            ("process", "processes"),
            ("status", "statuses"),
            ("index", "indexes"),
            ("batch", "batches"),
            ("analysis", "analyses"),
            ("person", "people"),
            ("api_key", "api_keys"),
            ("data_policy", "data_policies"),
        ] {
            assert_eq!(plural(singular), expected);
        }
    }

    #[test]
    fn plurals_and_what_has_none_stay_as_they_are() {
        for word in
            ["entities", "flows", "logic", "data", "pages", "people", "analyses", "processes", "app_logic", "v2"]
        {
            assert_eq!(plural(word), word);
        }
    }
}
