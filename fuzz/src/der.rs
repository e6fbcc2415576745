//! DER as a tree, so that a mutation deep inside leaves every length around it right and more than the outermost length is fuzzed.

/// An element, or octets that are none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    Octets(Vec<u8>),
    Element { tag: u8, children: Vec<Node> },
}

const OCTET_STRING: u8 = 0x04;
const CONSTRUCTED: u8 = 0x20;
const MAX_DEPTH: usize = 16;

/// One element around others.
pub fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut element = Vec::new();
    wrap(tag, &parts.concat(), &mut element);
    element
}

/// Reads as much as is DER; the rest is one run of octets.
pub fn parse(octets: &[u8]) -> Vec<Node> {
    parse_within(octets, 0)
}

pub fn encode(nodes: &[Node]) -> Vec<u8> {
    let mut octets = Vec::new();
    nodes.iter().for_each(|node| node.encode(&mut octets));
    octets
}

/// Splits off the first element, header included.
pub fn split_first(octets: &[u8]) -> Option<(&[u8], &[u8])> {
    let (_, header, length) = header(octets)?;
    Some(octets.split_at(header + length))
}

/// Changes one node that `seed` chooses: by `change`, or by taking it away, doubling it, or putting another in its place.
pub fn mutate(octets: &[u8], seed: u32, mut change: impl FnMut(&mut Vec<u8>)) -> Vec<u8> {
    let mut nodes = parse(octets);
    let count = count(&nodes);
    if count == 0 {
        let mut octets = octets.to_vec();
        change(&mut octets);
        return octets;
    }
    let (chosen, other) = (seed as usize % count, (seed / 7919) as usize % count);
    match seed >> 28 {
        0 => edit(&mut nodes, &mut { chosen }, &mut |siblings, position| drop(siblings.remove(position))),
        1 => edit(&mut nodes, &mut { chosen }, &mut |siblings, position| {
            siblings.insert(position, siblings[position].clone());
        }),
        2 | 3 => {
            let mut copy = None;
            edit(&mut nodes, &mut { other }, &mut |siblings, position| copy = Some(siblings[position].clone()));
            edit(&mut nodes, &mut { chosen }, &mut |siblings, position| {
                siblings[position] = copy.take().unwrap_or(Node::Octets(Vec::new()));
            });
        }
        4 => edit(&mut nodes, &mut { chosen }, &mut |siblings, position| {
            if let Node::Element { tag, .. } = &mut siblings[position] {
                let mut octets = vec![*tag];
                change(&mut octets);
                *tag = octets.first().copied().unwrap_or(*tag);
            }
        }),
        5 => edit(&mut nodes, &mut { chosen }, &mut |siblings, position| {
            let mut octets = encode(&siblings[position..=position]);
            change(&mut octets);
            siblings[position] = Node::Octets(octets);
        }),
        _ => edit(&mut nodes, &mut { chosen }, &mut |siblings, position| match &mut siblings[position] {
            Node::Octets(octets) => change(octets),
            Node::Element { children, .. } => {
                let mut octets = encode(children);
                change(&mut octets);
                *children = parse(&octets);
            }
        }),
    }
    encode(&nodes)
}

impl Node {
    fn encode(&self, octets: &mut Vec<u8>) {
        match self {
            Self::Octets(own) => octets.extend_from_slice(own),
            Self::Element { tag, children } => wrap(*tag, &encode(children), octets),
        }
    }
}

fn parse_within(mut octets: &[u8], depth: usize) -> Vec<Node> {
    let mut nodes = Vec::new();
    while let Some((tag, start, length)) = header(octets).filter(|_| depth < MAX_DEPTH) {
        let (element, rest) = octets.split_at(start + length);
        let content = &element[start..];
        let inner = parse_within(content, depth + 1);
        let is_whole = inner.iter().all(|node| matches!(node, Node::Element { .. }));
        // The value of an extension is DER again.
        let children = if tag & CONSTRUCTED != 0 || (tag == OCTET_STRING && is_whole) {
            inner
        } else {
            vec![Node::Octets(content.to_vec())]
        };
        nodes.push(Node::Element { tag, children });
        octets = rest;
    }
    if !octets.is_empty() {
        nodes.push(Node::Octets(octets.to_vec()));
    }
    nodes
}

/// The tag, the octets of the header and those of the content, where all of it is there.
fn header(octets: &[u8]) -> Option<(u8, usize, usize)> {
    let [tag, first, rest @ ..] = octets else { return None };
    let (start, length) = match first {
        0..=0x7f => (2, usize::from(*first)),
        0x81..=0x83 => {
            let count = usize::from(first & 0x7f);
            let length = rest.get(..count)?.iter().fold(0, |length, octet| length << 8 | usize::from(*octet));
            (2 + count, length)
        }
        _ => return None,
    };
    (octets.len() - start >= length).then_some((*tag, start, length))
}

fn wrap(tag: u8, content: &[u8], octets: &mut Vec<u8>) {
    octets.push(tag);
    let length = content.len();
    let big_endian = length.to_be_bytes();
    match length {
        0..=0x7f => octets.push(big_endian[7]),
        _ => {
            let zeros = big_endian.iter().take_while(|octet| **octet == 0).count();
            octets.push(0x80 | big_endian[zeros..].len().to_be_bytes()[7]);
            octets.extend_from_slice(&big_endian[zeros..]);
        }
    }
    octets.extend_from_slice(content);
}

fn count(nodes: &[Node]) -> usize {
    let below = |node: &Node| match node {
        Node::Octets(_) => 0,
        Node::Element { children, .. } => count(children),
    };
    nodes.iter().map(|node| 1 + below(node)).sum()
}

/// Calls `act` with the siblings and the position of the node that is `left` nodes further, in the order of their beginnings.
fn edit(nodes: &mut Vec<Node>, left: &mut usize, act: &mut dyn FnMut(&mut Vec<Node>, usize)) {
    for position in 0..nodes.len() {
        if *left == 0 {
            act(nodes, position);
            *left = usize::MAX;
            return;
        }
        *left -= 1;
        if let Node::Element { children, .. } = &mut nodes[position] {
            edit(children, left, act);
            if *left == usize::MAX {
                return;
            }
        }
    }
}
