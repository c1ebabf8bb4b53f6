//! One document's revision tree: who is whose parent, what stands at each node, and which leaf wins.

use std::collections::HashMap;

use super::Rev;

/// What CouchDB holds at a node of a revision tree.
pub trait Content {
    /// There is a body to read, be it a tombstone's.
    fn is_known(&self) -> bool;
    /// It is a tombstone.
    fn is_tombstone(&self) -> bool;
}

/// A place in a [`RevTree`], valid for that tree alone.
pub type NodeId = usize;

#[derive(Clone, Debug)]
struct Node<C> {
    rev: Rev,
    parent: Option<NodeId>,
    is_inner: bool,
    content: C,
}

/// A revision tree as CouchDB keeps it: several roots are possible (unrelated writes, stemmed histories), and a path may
/// begin above generation 1.
#[derive(Clone, Debug)]
pub struct RevTree<C> {
    nodes: Vec<Node<C>>,
    by_rev: HashMap<Rev, NodeId>,
    roots: Vec<NodeId>,
}

impl<C> Default for RevTree<C> {
    fn default() -> Self {
        Self {
            nodes: Vec::new(),
            by_rev: HashMap::new(),
            roots: Vec::new(),
        }
    }
}

impl<C: Content> RevTree<C> {
    /// No revision at all: the document never existed here.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Every node, in the order in which they came.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> + use<C> {
        0..self.nodes.len()
    }

    /// The node that bears `rev`.
    pub fn find(&self, rev: &Rev) -> Option<NodeId> {
        self.by_rev.get(rev).copied()
    }

    /// The revision at `node`.
    pub fn rev(&self, node: NodeId) -> &Rev {
        &self.nodes[node].rev
    }

    /// What stands at `node`.
    pub fn content(&self, node: NodeId) -> &C {
        &self.nodes[node].content
    }

    /// What stands at `node`, to be changed.
    pub fn content_mut(&mut self, node: NodeId) -> &mut C {
        &mut self.nodes[node].content
    }

    /// The node before `node`; none at a root.
    pub fn parent(&self, node: NodeId) -> Option<NodeId> {
        self.nodes[node].parent
    }

    /// `node` and its ancestors, newest first.
    pub fn path(&self, node: NodeId) -> impl Iterator<Item = NodeId> {
        std::iter::successors(Some(node), |&at| self.nodes[at].parent)
    }

    /// Some path does not reach back to generation 1: `_revs_limit` has cut it.
    pub fn is_stemmed(&self) -> bool {
        self.roots.iter().any(|&root| self.rev(root).generation() > 1)
    }

    /// It has no successor, and its body is known.
    pub fn is_leaf(&self, node: NodeId) -> bool {
        !self.nodes[node].is_inner && self.nodes[node].content.is_known()
    }

    /// Every leaf.
    pub fn leaves(&self) -> impl Iterator<Item = NodeId> {
        self.nodes().filter(|&node| self.is_leaf(node))
    }

    /// Leaves that are no tombstones.
    pub fn live(&self) -> impl Iterator<Item = NodeId> {
        self.leaves().filter(|&n| !self.nodes[n].content.is_tombstone())
    }

    /// The leaf that CouchDB shows: live before deleted, then the highest generation, then the highest hash
    /// (documentation, "Replication and conflict model").
    pub fn winner(&self) -> Option<NodeId> {
        self.leaves()
            .max_by_key(|&n| (!self.nodes[n].content.is_tombstone(), &self.nodes[n].rev))
    }

    /// Adds a path, newest first, as `new_edits: false` does; `content` makes what stands at a node that is new.
    /// Answers the node of the newest revision, and whether it is new. An empty path adds nothing.
    pub fn insert(&mut self, path: &[Rev], mut content: impl FnMut(&Rev) -> C) -> Option<(NodeId, bool)> {
        let mut child: Option<NodeId> = None;
        let mut newest = None;
        for rev in path {
            let (node, known) = match self.by_rev.get(rev) {
                Some(&node) => (node, true),
                None => {
                    let node = self.nodes.len();
                    self.by_rev.insert(rev.clone(), node);
                    self.nodes.push(Node {
                        rev: rev.clone(),
                        parent: None,
                        is_inner: false,
                        content: content(rev),
                    });
                    (node, false)
                }
            };
            if let Some(child) = child {
                self.attach(child, node);
            }
            if !known {
                self.roots.push(node);
            }
            newest = newest.or(Some((node, !known)));
            child = Some(node);
        }
        newest
    }

    fn attach(&mut self, child: NodeId, to: NodeId) {
        self.nodes[to].is_inner = true;
        // It is among the last: it has just been added.
        if self.nodes[child].parent.replace(to).is_none()
            && let Some(place) = self.roots.iter().rposition(|&root| root == child)
        {
            self.roots.remove(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, PartialEq)]
    enum Is {
        Unknown,
        Live,
        Tombstone,
    }

    impl Content for Is {
        fn is_known(&self) -> bool {
            *self != Is::Unknown
        }
        fn is_tombstone(&self) -> bool {
            *self == Is::Tombstone
        }
    }

    fn path(text: &str) -> Vec<Rev> {
        text.split(' ').map(|rev| rev.parse().unwrap()).collect()
    }

    fn tree(paths: &[(&str, Is)]) -> RevTree<Is> {
        let mut tree = RevTree::default();
        for (text, is) in paths {
            let (node, _) = tree.insert(&path(text), |_| Is::Unknown).unwrap();
            *tree.content_mut(node) = is.clone();
        }
        tree
    }

    fn winner(tree: &RevTree<Is>) -> String {
        tree.rev(tree.winner().unwrap()).to_string()
    }

    #[test]
    fn a_live_leaf_wins_over_a_longer_deleted_one() {
        let tree = tree(&[("2-b 1-a", Is::Live), ("3-d 2-c 1-a", Is::Tombstone)]);
        assert_eq!(winner(&tree), "2-b");
        assert_eq!(tree.leaves().count(), 2);
        assert_eq!(tree.live().count(), 1);
    }

    #[test]
    fn the_longer_path_wins_then_the_higher_hash() {
        assert_eq!(
            winner(&tree(&[("2-b 1-a", Is::Live), ("3-d 2-c 1-a", Is::Live)])),
            "3-d"
        );
        assert_eq!(winner(&tree(&[("2-b 1-a", Is::Live), ("2-c 1-a", Is::Live)])), "2-c");
    }

    #[test]
    fn a_stemmed_path_is_mended_by_a_longer_one() {
        let mut tree = tree(&[("3-c 2-b", Is::Live)]);
        let leaf = tree.find(&"3-c".parse().unwrap()).unwrap();
        assert!(tree.is_stemmed());
        let (_, is_new) = tree.insert(&path("3-c 2-b 1-a"), |_| Is::Unknown).unwrap();
        assert!(!is_new);
        assert!(!tree.is_stemmed());
        assert_eq!(tree.path(leaf).count(), 3);
    }
}
