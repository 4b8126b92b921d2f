//! Just enough of Markdown: files, fenced blocks, headings, links.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// One Markdown file of the repository.
pub struct Page {
    /// The path from the root of the repository.
    pub path: PathBuf,
    pub text: String,
}

/// One fenced block of code.
pub struct Block {
    /// `docs/concepts.md:12`, for messages.
    pub place: String,
    pub language: String,
    pub text: String,
    /// An HTML comment `<!-- fragment -->` stands before it: it is a part of something and not an example of its own.
    pub fragment: bool,
    /// How far the fence is indented, as in a list.
    indent: usize,
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// README.md and everything below docs/.
pub fn pages() -> Vec<Page> {
    let mut paths = vec![PathBuf::from("README.md")];
    collect(Path::new("docs"), &mut paths);
    let pages: Vec<Page> =
        paths.into_iter().map(|path| Page { text: fs::read_to_string(root().join(&path)).unwrap(), path }).collect();
    assert!(pages.len() > 10, "only {} pages were found", pages.len());
    pages
}

fn collect(directory: &Path, paths: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = fs::read_dir(root().join(directory)).unwrap().map(|entry| entry.unwrap()).collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = directory.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            collect(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            paths.push(path);
        }
    }
}

/// The fenced blocks of all pages.
pub fn blocks() -> Vec<Block> {
    pages().iter().flat_map(blocks_of).collect()
}

pub fn blocks_of(page: &Page) -> Vec<Block> {
    let mut blocks = vec![];
    let mut open: Option<Block> = None;
    let mut fragment = false;
    for (number, line) in page.text.lines().enumerate() {
        match (&mut open, line.trim_start().strip_prefix("```")) {
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(block), None) => {
                block.text.push_str(line.get(block.indent..).unwrap_or_default());
                block.text.push('\n');
            }
            (None, Some(language)) => {
                let place = format!("{}:{}", page.path.display(), number + 1);
                let language = language.trim().to_owned();
                let indent = line.len() - line.trim_start().len();
                open = Some(Block { place, language, text: String::new(), fragment, indent });
                fragment = false;
            }
            (None, None) if !line.trim().is_empty() => fragment = line.trim() == "<!-- fragment -->",
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block of {} is not closed", page.path.display());
    blocks
}

impl Page {
    /// The lines outside of fenced blocks.
    pub fn prose(&self) -> impl Iterator<Item = &str> {
        let mut inside = false;
        self.text.lines().filter(move |line| {
            let fence = line.trim_start().starts_with("```");
            inside ^= fence;
            !inside && !fence
        })
    }

    /// The anchors of the headings, as GitHub makes them.
    pub fn anchors(&self) -> Vec<String> {
        let headings = self.prose().filter(|line| line.starts_with('#'));
        headings.map(|line| anchor(line.trim_start_matches('#').trim())).collect()
    }

    /// The targets of the links and images.
    pub fn links(&self) -> Vec<String> {
        let mut links = vec![];
        for line in self.prose() {
            // Every second part is code.
            let plain: Vec<&str> = line.split('`').step_by(2).collect();
            let plain = plain.concat();
            let mut rest = plain.as_str();
            while let Some((_, after)) = rest.split_once("](") {
                let Some((target, after)) = after.split_once(')') else { break };
                links.push(target.to_owned());
                rest = after;
            }
        }
        links
    }
}

fn anchor(heading: &str) -> String {
    let kept: String =
        heading.to_lowercase().chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_')).collect();
    str::replace(&kept, ' ', "-")
}
