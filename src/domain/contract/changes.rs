//! What changed, as the documents tell it: keys such as `entities_added`, `logic_changed`, `updated_flows`.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::plural::plural;
use crate::api::revision::{CategoryChanges, Changes, KeyChanges};

/// The difference that a promotion makes: `{"entities_added": ["Notification"], "logic_changed": 2, "env_updated": ["API_KEY"]}`.
/// What was added and removed is named, what was changed is counted.
#[must_use]
pub fn diff_from_previous(changes: &Changes) -> Map<String, Value> {
    let mut document = content(&changes.content, |category| format!("{category}_changed"));
    let KeyChanges { added, removed, changed } = &changes.variables;
    let mut updated: Vec<&String> = added.iter().chain(changed).collect();
    updated.sort();
    put_names(&mut document, "env_updated", &updated);
    put_names(&mut document, "env_removed", &removed.iter().collect::<Vec<_>>());
    flags(&mut document, &changes.flags);
    document
}

/// The changes of a line of history: `{"updated_flows": 3, "env_changed": true, "flags_added": ["BETA_FORM"]}`.
#[must_use]
pub fn recorded(changes: &Changes) -> Map<String, Value> {
    let mut document = content(&changes.content, |category| format!("updated_{category}"));
    if !changes.variables.is_empty() {
        document.insert("env_changed".to_owned(), json!(true));
    }
    flags(&mut document, &changes.flags);
    document
}

fn content(categories: &BTreeMap<String, CategoryChanges>, changed: impl Fn(&str) -> String) -> Map<String, Value> {
    let mut document = Map::new();
    for (category, changes) in categories {
        let category = plural(category);
        put_names(&mut document, &format!("{category}_added"), &changes.added.iter().collect::<Vec<_>>());
        put_names(&mut document, &format!("{category}_removed"), &changes.removed.iter().collect::<Vec<_>>());
        if changes.changed_count > 0 {
            document.insert(changed(&category), json!(changes.changed_count));
        }
    }
    document
}

fn flags(document: &mut Map<String, Value>, changes: &KeyChanges) {
    for (key, names) in
        [("flags_added", &changes.added), ("flags_removed", &changes.removed), ("flags_changed", &changes.changed)]
    {
        put_names(document, key, &names.iter().collect::<Vec<_>>());
    }
}

fn put_names(document: &mut Map<String, Value>, key: &str, names: &[&String]) {
    if !names.is_empty() {
        document.insert(key.to_owned(), json!(names));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes() -> Changes {
        serde_json::from_value(json!({
            "content": {
                "entity": {"added": ["Notification"], "addedCount": 1},
                "flows": {"changed": ["A", "B", "C"], "changedCount": 3, "removed": ["D"], "removedCount": 1},
                "logic": {"changed": ["Pricing", "Shipping"], "changedCount": 2},
            },
            "variables": {"changed": ["API_KEY"]},
            "flags": {"added": ["BETA_FORM"]},
        }))
        .unwrap()
    }

    #[test]
    fn a_promotions_difference_has_the_contracts_keys() {
        assert_eq!(
            Value::Object(diff_from_previous(&changes())),
            json!({"entities_added": ["Notification"], "flows_changed": 3, "flows_removed": ["D"], "logic_changed": 2,
                   "env_updated": ["API_KEY"], "flags_added": ["BETA_FORM"]})
        );
    }

    #[test]
    fn a_line_of_history_has_the_contracts_keys() {
        assert_eq!(
            Value::Object(recorded(&changes())),
            json!({"entities_added": ["Notification"], "updated_flows": 3, "flows_removed": ["D"], "updated_logic": 2,
                   "env_changed": true, "flags_added": ["BETA_FORM"]})
        );
    }

    #[test]
    fn nothing_changed_is_an_empty_document() {
        assert!(diff_from_previous(&Changes::default()).is_empty() && recorded(&Changes::default()).is_empty());
    }
}
