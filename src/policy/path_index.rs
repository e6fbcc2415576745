//! Rules by the paths that they are about, so that a request meets only those that may concern it.

use std::collections::HashMap;

use super::path::Segment;
use super::{Action, PathPattern, RequestPath, RequestRule};

/// The numbers of rules, below the segments of their paths.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct PathIndex {
    /// Rules about any path.
    everywhere: Vec<usize>,
    /// Rules that allow, by paths as they are written.
    allowing: Node,
    /// Rules that deny, by paths in lower case and without a `/` at the end.
    denying: Node,
}

/// What the segments so far lead to. All numbers ascend.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Node {
    /// Rules about this path.
    here: Vec<usize>,
    /// Rules about everything below it.
    below: Vec<usize>,
    children: HashMap<Box<str>, Node>,
    /// Where any segment leads.
    any: Option<Box<Node>>,
}

impl PathIndex {
    pub(super) fn of(rules: &[RequestRule]) -> Self {
        let mut index = Self::default();
        for (number, rule) in rules.iter().enumerate() {
            if rule.paths.is_empty() {
                index.everywhere.push(number);
            }
            for path in &rule.paths {
                match rule.action {
                    Action::Allow => index.allowing.add(path, number, |literal| Some(literal.into())),
                    Action::Deny => index.denying.add(path, number, |literal| {
                        Some(literal.to_ascii_lowercase().into()).filter(|_| !literal.is_empty())
                    }),
                }
            }
        }
        index
    }

    /// Shows the numbers of all rules that are about a path, some at a time; those of one time ascend.
    pub(super) fn visit(&self, path: &RequestPath<'_>, show: &mut dyn FnMut(&[usize])) {
        show(&self.everywhere);
        if let Some(segments) = path.segments() {
            self.allowing.visit(segments, false, show);
        }
        if !self.denying.is_empty() {
            let path = path.as_str().to_ascii_lowercase();
            if let Some(path) = path.strip_prefix('/') {
                self.denying.visit(path.split('/').filter(|segment| !segment.is_empty()), true, show);
            }
        }
    }
}

impl Node {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// `key` makes the key of a literal segment, or nothing where the segment does not count.
    fn add(&mut self, path: &PathPattern, number: usize, key: impl Fn(&str) -> Option<Box<str>>) {
        let mut node = self;
        for segment in &path.segments {
            node = match segment {
                Segment::Any => node.any.get_or_insert_default(),
                Segment::Literal(literal) => match key(literal) {
                    Some(key) => node.children.entry(key).or_default(),
                    None => node,
                },
            };
        }
        let numbers = if path.is_prefix { &mut node.below } else { &mut node.here };
        // A rule that lists two paths with one meaning is one rule.
        if numbers.last() != Some(&number) {
            numbers.push(number);
        }
    }

    /// `includes_top` says whether what is below a path holds for the path itself.
    fn visit<'s>(
        &self,
        mut segments: impl Iterator<Item = &'s str> + Clone,
        includes_top: bool,
        show: &mut dyn FnMut(&[usize]),
    ) {
        let Some(segment) = segments.next() else {
            show(&self.here);
            if includes_top {
                show(&self.below);
            }
            return;
        };
        show(&self.below);
        if let Some(child) = self.children.get(segment) {
            child.visit(segments.clone(), includes_top, show);
        }
        if let Some(any) = self.any.as_ref().filter(|_| !segment.is_empty()) {
            any.visit(segments, includes_top, show);
        }
    }
}
