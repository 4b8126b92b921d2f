//! Every link within the repository leads to a file and, where it names one, to a heading.

use std::path::Path;

use crate::markdown::{pages, root};

#[test]
fn every_link_leads_somewhere() {
    let pages = pages();
    let mut broken = vec![];
    for page in &pages {
        for link in page.links().into_iter().filter(|link| !link.contains("://")) {
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target =
                if file.is_empty() { page.path.clone() } else { normal(&page.path.parent().unwrap().join(file)) };
            let there = root().join(&target).exists();
            let heading = anchor.is_empty()
                || pages.iter().any(|page| page.path == target && page.anchors().iter().any(|found| found == anchor));
            if !there || !heading {
                broken.push(format!("{}: {link}", page.path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "links that lead nowhere:\n{}", broken.join("\n"));
}

/// The path without `..`.
fn normal(path: &Path) -> std::path::PathBuf {
    let mut normal = std::path::PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => {
                normal.pop();
            }
            other => normal.push(other),
        }
    }
    normal
}

#[test]
fn every_page_can_be_reached_from_the_readme() {
    let pages = pages();
    let mut reached = vec![Path::new("README.md").to_owned()];
    let mut next = 0;
    while let Some(path) = reached.get(next).cloned() {
        next += 1;
        let Some(page) = pages.iter().find(|page| page.path == path) else { continue };
        for link in page.links().into_iter().filter(|link| !link.contains("://")) {
            let target = normal(&path.parent().unwrap().join(link.split('#').next().unwrap()));
            if !reached.contains(&target) {
                reached.push(target);
            }
        }
    }
    let lost: Vec<_> = pages.iter().filter(|page| !reached.contains(&page.path)).map(|page| &page.path).collect();
    assert!(lost.is_empty(), "no link leads to {lost:?}");
}
