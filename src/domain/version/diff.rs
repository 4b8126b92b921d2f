//! What changes from one version's content to another's.

use std::collections::{BTreeMap, BTreeSet};

use crate::api::{Digest, revision::CategoryChanges, version::Content};

/// How many names of one kind of change are kept, as in the schema.
const MOST_NAMES: usize = 50;

/// How many characters of a name are kept, as in the schema.
const MOST_CHARACTERS: usize = 256;

/// How many bytes all kept names may take together: a difference is part of a status and of a revision.
const MOST_BYTES: usize = 64 << 10;

/// What changed, by category; categories without a change are left out. Nothing at all has no content.
#[must_use]
pub fn between(from: &Content, to: &Content) -> BTreeMap<String, CategoryChanges> {
    let nothing = BTreeMap::new();
    let categories: BTreeSet<&String> = from.keys().chain(to.keys()).collect();
    let of = |content: &Content, category: &String| content.get(category).unwrap_or(&nothing).clone();
    let mut room = MOST_BYTES;
    categories
        .into_iter()
        .map(|category| (category.clone(), changes(&of(from, category), &of(to, category), &mut room)))
        .filter(|(_, changes)| *changes != CategoryChanges::default())
        .collect()
}

fn changes(from: &BTreeMap<String, Digest>, to: &BTreeMap<String, Digest>, room: &mut usize) -> CategoryChanges {
    let added: Vec<&String> = to.keys().filter(|name| !from.contains_key(*name)).collect();
    let removed: Vec<&String> = from.keys().filter(|name| !to.contains_key(*name)).collect();
    let differs = |name: &&String| from.get(*name).is_some_and(|before| Some(before) != to.get(*name));
    let changed: Vec<&String> = to.keys().filter(differs).collect();
    CategoryChanges {
        added_count: count(&added),
        removed_count: count(&removed),
        changed_count: count(&changed),
        added: first(&added, room),
        removed: first(&removed, room),
        changed: first(&changed, room),
    }
}

fn count(names: &[&String]) -> u32 {
    u32::try_from(names.len()).unwrap_or(u32::MAX)
}

fn first(names: &[&String], room: &mut usize) -> Vec<String> {
    let mut kept = vec![];
    for name in names.iter().take(MOST_NAMES) {
        let shortened: String = name.chars().take(MOST_CHARACTERS).collect();
        let Some(left) = room.checked_sub(shortened.len()) else { break };
        *room = left;
        kept.push(shortened);
    }
    kept
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn contents() -> impl Strategy<Value = Content> {
        let parts = proptest::collection::btree_map("[A-F]", (0_u8..3).prop_map(|byte| Digest::of(&[byte])), 0..5);
        proptest::collection::btree_map("entities|flows|logic", parts, 0..3)
    }

    /// Does to `from` what the difference says, with the definitions of `to`.
    fn applied(from: &Content, difference: &BTreeMap<String, CategoryChanges>, to: &Content) -> Content {
        let mut result = from.clone();
        for (category, changes) in difference {
            let parts = result.entry(category.clone()).or_default();
            parts.retain(|name, _| !changes.removed.contains(name));
            for name in changes.added.iter().chain(&changes.changed) {
                parts.insert(name.clone(), to[category][name]);
            }
        }
        result
    }

    /// Content without categories that hold nothing.
    fn filled(content: &Content) -> Content {
        content
            .iter()
            .filter(|(_, parts)| !parts.is_empty())
            .map(|(name, parts)| (name.clone(), parts.clone()))
            .collect()
    }

    proptest! {
        #[test]
        fn what_the_difference_says_done_to_the_parent_gives_the_child(from in contents(), to in contents()) {
            prop_assert_eq!(filled(&applied(&from, &between(&from, &to), &to)), filled(&to));
        }

        #[test]
        fn the_way_back_adds_what_the_way_there_removes(from in contents(), to in contents()) {
            let (there, back) = (between(&from, &to), between(&to, &from));
            prop_assert_eq!(there.keys().collect::<Vec<_>>(), back.keys().collect::<Vec<_>>());
            for (category, there) in &there {
                let back = &back[category];
                prop_assert_eq!((&there.added, &there.removed, &there.changed), (&back.removed, &back.added, &back.changed));
            }
        }

        #[test]
        fn there_is_no_difference_exactly_between_equals(from in contents(), to in contents()) {
            prop_assert_eq!(between(&from, &to).is_empty(), filled(&from) == filled(&to));
        }
    }

    #[test]
    fn of_a_great_many_names_the_first_are_kept_and_all_are_counted() {
        let many = (0..80).map(|number| (format!("Page{number:02}"), Digest::of(b"x"))).collect();
        let difference = between(&Content::new(), &[("pages".to_owned(), many)].into());
        assert_eq!(difference["pages"].added.len(), MOST_NAMES);
        assert_eq!(difference["pages"].added_count, 80);
    }
}
