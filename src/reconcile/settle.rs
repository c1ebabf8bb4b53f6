//! Tidying one document: branches that are behind, and branches that its inputs no longer have.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{
    Body, Member, Work,
    attach::Onto,
    entity::Stored,
    revision::{self, EditId, Kind},
};
use crate::{
    couch::{Content, Fields, NodeId, Rev},
    lens::{Lens, Made, Put},
    schema::{ClassId, Direction},
};

/// How many revisions a branch is made longer, so that it wins: half of CouchDB's default `_revs_limit`.
const LONGEST_STRETCH: usize = 500;

/// What leaves of one document have, as [`Member::shared_edits`](super::Member::shared_edits) tells it.
type EditsOf = HashMap<NodeId, HashSet<EditId>>;

/// A document and the inputs that one lens makes it from.
struct Alignment<'a> {
    lens: &'a Lens,
    to: Direction,
    place: usize,
    target: ClassId,
    /// The primary first.
    inputs: Vec<usize>,
}

impl Work<'_> {
    /// Ends every live leaf all of whose edits stand on another leaf's path: it is behind, not in conflict. A real deletion
    /// that has seen them counts as such a leaf, a local one does not.
    pub(super) fn drop_behind(&mut self) -> bool {
        let mut moved = false;
        for place in 0..self.entity.members.len() {
            let tree = &self.entity.members[place].tree;
            if tree.live().next().is_none() || tree.leaves().nth(1).is_none() {
                continue;
            }
            let edits = self.edits_of(place, tree.leaves());
            let mut holders: HashMap<EditId, Vec<NodeId>> = HashMap::new();
            for (leaf, edits) in &edits {
                for edit in edits {
                    holders.entry(*edit).or_default().push(*leaf);
                }
            }
            for leaf in tree.live().collect::<Vec<_>>() {
                if self.is_behind(place, leaf, &edits, &holders) {
                    moved |= self.drop_leaf(place, leaf);
                }
            }
        }
        moved
    }

    fn edits_of(&self, place: usize, leaves: impl Iterator<Item = NodeId>) -> EditsOf {
        // What was adopted stands on some branches only where proxies brought documents together at the same time.
        let counts = |edit: &EditId| !self.origins.was_adopted(*edit);
        leaves
            .map(|leaf| {
                let edits = self.entity.members[place].shared_edits(leaf);
                (leaf, edits.into_iter().filter(counts).collect())
            })
            .collect()
    }

    fn is_behind(&self, place: usize, leaf: NodeId, edits: &EditsOf, holders: &HashMap<EditId, Vec<NodeId>>) -> bool {
        let member = &self.entity.members[place];
        let tree = &member.tree;
        let is_derived = |node: NodeId| member.at(node).kind != Kind::Authored;
        let is_copy = |node: NodeId| {
            let parent = tree.parent(node).map(|parent| member.at(parent));
            member.at(node).kind == Kind::Merge && parent.is_none_or(Stored::is_tombstone)
        };
        let mine = &edits[&leaf];
        let counts = |other: &NodeId| {
            *other != leaf && !(member.at(*other).is_tombstone() && member.at(*other).kind == Kind::Local)
        };
        // Whoever has them all has the rarest: of thousands of branches that is mostly the leaf alone. A copy yields to others, too.
        let rarest = mine
            .iter()
            .filter_map(|edit| holders.get(edit))
            .min_by_key(|them| them.len())
            .filter(|_| !is_copy(leaf));
        let all = rarest.is_none().then(|| tree.leaves()).into_iter().flatten();
        let them = rarest.into_iter().flatten().copied().chain(all);
        them.filter(counts).any(|other| {
            let theirs = &edits[&other];
            // Of two leaves with the same edits the authored one stays, then the higher one, so that all agree on which.
            let yields = (is_derived(leaf), tree.rev(other)) > (is_derived(other), tree.rev(leaf));
            // Of what was created twice, of copies that differ, one stays, or what was made of it.
            if is_copy(leaf) && !member.at(other).is_tombstone() {
                return !is_copy(other) || yields;
            }
            mine.is_subset(theirs) && (mine.len() < theirs.len() || yields)
        })
    }

    /// Ends every live leaf that another one stands against only with edits from a neighbour where they have been rejected:
    /// there, no live leaf has them any more. So a conflict between two clients of a coarser class, mirrored into two
    /// documents of a finer one, is resolved in both when it is resolved in one.
    pub(super) fn drop_rejected(&mut self) -> bool {
        let mut moved = false;
        for place in 0..self.entity.members.len() {
            let tree = &self.entity.members[place].tree;
            let mut live: Vec<NodeId> = tree.live().collect();
            // A part that need not be there may have stood on the rejected side alone.
            let stays = usize::from(!self.is_optional(place));
            if live.len() <= stays {
                continue;
            }
            live.sort_by_key(|&leaf| tree.rev(leaf));
            let edits = self.edits_of(place, live.iter().copied());
            let alive: Vec<HashSet<EditId>> = self.entity.members.iter().map(Member::alive).collect();
            let mut holders: HashMap<EditId, usize> = HashMap::new();
            for &edit in edits.values().flatten() {
                *holders.entry(edit).or_default() += 1;
            }
            let mut n = 0;
            while live.len() > stays && n < live.len() {
                let own = edits[&live[n]].iter().filter(|edit| holders[edit] == 1);
                if !self.is_rejected(place, &own.copied().collect::<Vec<_>>(), &alive) {
                    n += 1;
                    continue;
                }
                let leaf = live.remove(n);
                for edit in &edits[&leaf] {
                    let left = holders.entry(*edit).or_default();
                    *left -= 1;
                    // One of those that were looked at has it alone now.
                    if *left == 1 {
                        n = 0;
                    }
                }
                moved |= self.drop_leaf(place, leaf);
            }
        }
        moved
    }

    /// Ends every live leaf that outlived a deletion because its source lived on, once the source does no longer.
    pub(super) fn drop_ended(&mut self) -> bool {
        let mut moved = false;
        for place in 0..self.entity.members.len() {
            for leaf in self.entity.members[place].tree.live().collect::<Vec<_>>() {
                if self.is_ended(place, leaf) {
                    moved |= self.drop_leaf(place, leaf);
                }
            }
        }
        moved
    }

    fn is_ended(&self, place: usize, leaf: NodeId) -> bool {
        let member = &self.entity.members[place];
        fn newest(member: &Member, leaf: NodeId) -> Option<&Stored> {
            member.told(leaf).map(|node| member.at(node))
        }
        let Some(newest_here) = newest(member, leaf) else {
            return false;
        };
        // A part that is deleted is its default: that ends nothing.
        let is_primary = |source: &Member| {
            let sides = self
                .lenses
                .iter()
                .flat_map(|(lens, _)| Direction::BOTH.map(|to| lens.step().sides(to)));
            sides
                .into_iter()
                .any(|(near, far)| near.first() == Some(&source.class) && far.contains(&member.class))
        };
        let is_deletion = |source: &Member| {
            let mut ends = source.tree.leaves().filter_map(|leaf| newest(source, leaf));
            self.origins.arrives(newest_here.edit, member.class, source.class)
                && source.tree.live().next().is_none()
                && ends.any(|end| end.edit == newest_here.edit)
        };
        let mut sources = self.entity.members.iter().filter(|source| is_primary(source));
        newest_here.kind == Kind::Mirror && sources.any(is_deletion)
    }

    fn is_optional(&self, place: usize) -> bool {
        let class = self.entity.members[place].class;
        self.lenses.iter().any(|(lens, _)| lens.is_optional(class))
    }

    /// `own` are the edits that one live leaf of a document has and no other.
    /// `alive` is what the live leaves of each document have.
    fn is_rejected(&self, place: usize, own: &[EditId], alive: &[HashSet<EditId>]) -> bool {
        let member = &self.entity.members[place];
        let mut neighbours = self.entity.members.iter().zip(alive);
        !own.is_empty()
            && neighbours.any(|(neighbour, alive)| {
                let is_gone = |edit: &EditId| {
                    self.origins.arrives(*edit, member.class, neighbour.class)
                        && neighbour.holds(*edit)
                        && !alive.contains(edit)
                };
                // What a merge has ended lives on in another side, and was not ended here if the merge was none of this document.
                let is_merged = |leaf: &NodeId| {
                    let edit = neighbour.at(*leaf).edit;
                    self.origins.is_merge(edit) && !self.origins.belongs(edit, member.class)
                };
                let mut merged = neighbour.tree.leaves().filter(is_merged);
                !alive.is_empty()
                    && own.iter().all(is_gone)
                    && !merged.any(|leaf| neighbour.edits(leaf).iter().any(|edit| own.contains(edit)))
            })
    }

    /// Brings documents in line with the inputs they follow ([`Registry::flow`](crate::schema::Registry::flow)).
    ///
    /// *Join*: two proxies that race on different inputs of a merged document can leave it with several live leaves although
    /// every input has one. Then the winner takes what the inputs say now, and the others end. If the primary input is deleted,
    /// all end. The winner is given the edits that only the others have: whoever goes on from there has seen them.
    ///
    /// *Agree*: what was joined shows in the classes beyond too, and while there is a conflict, all versions show the same
    /// winner. A merged document gets edits of several inputs, so its branches may be of other lengths; the branch that has what its
    /// primary input shows is made the longest.
    pub(super) fn align(&mut self) -> bool {
        let mut moved = false;
        for (lens, flow) in self.lenses.clone() {
            let Some(to) = flow else { continue };
            let (near, far) = lens.step().sides(to);
            for &target in far {
                let alignment = Alignment {
                    lens,
                    to,
                    place: self.member(target),
                    target,
                    inputs: self.members(near),
                };
                moved |= self.align_target(&alignment);
            }
        }
        moved
    }

    fn align_target(&mut self, on: &Alignment) -> bool {
        let member = &self.entity.members[on.place];
        let mut live: Vec<NodeId> = member.tree.live().collect();
        live.sort_by_key(|&leaf| std::cmp::Reverse(member.tree.rev(leaf)));
        let primary = &self.entity.members[on.inputs[0]];
        let Some(shown) = primary.tree.winner() else {
            return false;
        };
        let is_gone = primary.at(shown).is_tombstone();
        let is_settled = on
            .inputs
            .iter()
            .all(|&input| self.entity.members[input].tree.live().nth(1).is_none());
        // A leaf of our own is looked at even when it is alone: a proxy may have ended its rivals and died. A client's own is
        // not ours to complete, unless what it follows was made to agree with others.
        let is_ours = |&leaf: &NodeId| member.at(leaf).kind != Kind::Authored;
        let has_optional = on
            .inputs
            .iter()
            .any(|&input| on.lens.is_optional(self.entity.members[input].class));
        // A part that need not exist may have no branch that shows that the leaf does not know what it says now.
        let belongs_here = |edit, _| self.origins.belongs(edit, on.target);
        let is_apart = |&leaf: &NodeId| has_optional && !self.not_on_path(on, leaf, belongs_here).is_empty();
        let is_diverged = live.len() > 1
            || !live.is_empty()
                && (is_gone
                    || !is_settled
                    || is_ours(&live[0])
                    || is_apart(&live[0])
                    || primary.at(shown).kind == Kind::Local);
        if live.is_empty() && !is_gone {
            return self.revive(on, shown);
        }
        if !is_diverged || !on.inputs.iter().all(|&input| self.has_all(input, on.place, &live)) {
            return false;
        }
        let belongs = |node: &NodeId| {
            let stored = primary.at(*node);
            stored.kind != Kind::Local && self.origins.belongs(stored.edit, on.target)
        };
        let wanted: Vec<EditId> = primary
            .tree
            .path(shown)
            .filter(belongs)
            .map(|node| primary.at(node).edit)
            .collect();
        let matching = |&leaf: &NodeId| {
            let has = member.shared_edits(leaf);
            let last = wanted.first().is_some_and(|last| has.contains(last));
            (last, wanted.iter().filter(|edit| has.contains(edit)).count())
        };
        // The leaves come highest first, and of equals the last is taken.
        let agreeing = live
            .iter()
            .rev()
            .copied()
            .filter(|leaf| matching(leaf).1 > 0)
            .max_by_key(matching);
        if !is_gone && !is_settled {
            return agreeing.is_some_and(|leaf| self.show_winners(on, "agree", leaf));
        }
        let keep = agreeing.or(live.first().copied()).filter(|_| !is_gone);
        let extended = keep.is_some_and(|keep| self.show_winners(on, "join", keep));
        let rest = live.into_iter().filter(|&leaf| Some(leaf) != keep);
        rest.fold(extended, |moved, leaf| self.drop_leaf(on.place, leaf) | moved)
    }

    /// What the primary input shows lives in a document that follows it, too. Proxies that raced may have ended every branch that has it, each for
    /// another's sake. Once: what ends again has another reason.
    fn revive(&mut self, on: &Alignment, shown: NodeId) -> bool {
        let (member, primary) = (&self.entity.members[on.place], &self.entity.members[on.inputs[0]]);
        let Some(last) = primary.told(shown) else {
            return false;
        };
        let is_drop = |node: &NodeId| {
            let below = member.tree.parent(*node);
            below.is_some_and(|below| member.at(*node).edit == member.dropping(member.tree.rev(below)))
        };
        let is_ours = |leaf: &NodeId| is_drop(leaf) && !member.tree.path(*leaf).skip(1).any(|node| is_drop(&node));
        let edit = primary.at(last).edit;
        let has_it = |&leaf: &NodeId| member.tree.path(leaf).any(|node| member.at(node).edit == edit);
        let ended = member.tree.leaves().filter(|leaf| is_ours(leaf) && has_it(leaf));
        let ended = ended.max_by_key(|&leaf| member.tree.rev(leaf));
        ended.is_some_and(|leaf| self.show_winners(on, "join", leaf))
    }

    /// Extends a leaf so that it wins and shows what the winners of the inputs make.
    fn show_winners(&mut self, on: &Alignment, reason: &str, leaf: NodeId) -> bool {
        let shown: Vec<Option<NodeId>> = on
            .inputs
            .iter()
            .map(|&input| self.entity.members[input].tree.winner())
            .collect();
        let onto = Onto {
            lens: on.lens,
            to: on.to,
            target: on.target,
            at: Some(leaf),
        };
        let Some(attached) = self.attached(&onto, &shown) else {
            return false;
        };
        let member = &self.entity.members[on.place];
        let Some(last) = member.standing(leaf) else {
            return false;
        };
        let Some(old) = member.at(last).body.live() else {
            if matches!(member.at(last).body, Body::Unread) {
                self.want(on.place, last);
            }
            return false;
        };
        let inputs = on.inputs.iter().map(|&input| &self.entity.members[input]);
        let winners: Vec<_> = inputs.zip(shown).collect();
        let sources: Vec<Option<&Fields>> = winners
            .iter()
            .map(|(input, winner)| input.at((*winner)?).body.live().map(|body| &body.fields))
            .collect();
        let put = Put {
            to: on.to,
            target: on.target,
            key: &self.entity.key,
            sources: &sources,
            old: Some(&old.fields),
        };
        let (fields, looked_at) = match self.made(on.lens, &put, Some(&attached.document), None) {
            Ok((Made::Document(fields), looked_at)) => (fields, looked_at),
            Ok((Made::NotReady, _)) => {
                self.outcome.is_waiting = true;
                return false;
            }
            Ok((Made::Nothing, _)) => return false,
            Err(error) => return self.refuse(on.place, error),
        };
        let shown = self.document(on.target, fields, Some(&attached.document));
        let revs: Vec<&Rev> = winners
            .iter()
            .filter_map(|(input, winner)| Some(input.tree.rev((*winner)?)))
            .chain(&attached.revs)
            .chain(&looked_at)
            .collect();
        let edit = EditId::made(reason, &member.id, &revs);
        let is_winner = member.tree.winner() == Some(leaf);
        let arriving = if reason == "join" && !self.is_cut(on.place) {
            self.not_on_path(on, leaf, |edit, from| self.origins.arrives(edit, on.target, from))
        } else {
            Vec::new()
        };
        // Once for the same winners: a lens that answers differently each time must not make revisions without end.
        let is_same = shown.fields.same_as(&old.fields) && shown.has_same_attachments(old);
        if arriving.is_empty() && is_winner && last == leaf && (is_same || member.at(leaf).edit == edit) {
            return false;
        }
        if let Err(violation) = self.fits(on.target, &shown) {
            return self.refuse(on.place, violation.into());
        }
        if !arriving.is_empty() {
            let mut path = member.revs(leaf);
            let sources: Vec<Rev> = revs.into_iter().cloned().collect();
            path.reverse();
            revision::mirrored(&member.id, &mut path, &arriving, &sources);
            path.reverse();
            return self.emit(on.place, path, Some(Arc::new(shown)));
        }
        let longest = member
            .tree
            .winner()
            .map_or(0, |winner| member.tree.rev(winner).generation());
        let above = member.tree.rev(leaf).generation()..=longest;
        // A client may claim any generation. So long a branch would lose its own history to `_revs_limit`.
        if above.clone().nth(LONGEST_STRETCH).is_some() {
            return false;
        }
        let mut path = member.revs(leaf);
        path.reverse();
        for _ in above {
            path.push(revision::derived(&member.id, edit, path.last(), &[], Kind::Local));
        }
        path.reverse();
        self.emit(on.place, path, Some(Arc::new(shown)))
    }

    /// The edits that the winners of the inputs show and the leaf has not, as far as they count, from that input.
    fn not_on_path(&self, on: &Alignment, leaf: NodeId, counts: impl Fn(EditId, ClassId) -> bool) -> Vec<EditId> {
        let target = &self.entity.members[on.place];
        let mut seen: HashSet<EditId> = target.edits(leaf).into_iter().collect();
        let mut missing = Vec::new();
        for &input in on.inputs.iter().rev() {
            let input = &self.entity.members[input];
            let edits = input.tree.winner().map(|winner| input.edits(winner));
            for edit in edits.into_iter().flatten() {
                if counts(edit, input.class) && seen.insert(edit) {
                    missing.push(edit);
                }
            }
        }
        missing
    }

    /// The input holds every edit that the target's leaves hold of it, or was not made of it. Where paths were cut, one that it holds
    /// vouches for what stands before it.
    fn has_all(&self, input: usize, target: usize, live: &[NodeId]) -> bool {
        let from = &self.entity.members[input];
        let is_cut = self.is_cut(input);
        let target = &self.entity.members[target];
        let has = |edit: &EditId| from.holds(*edit) || self.unmade.contains(&(input, *edit));
        let belongs = |edit: &EditId| self.origins.belongs(*edit, from.class);
        let is_known = |leaf: &NodeId| {
            let edits = target.edits(*leaf);
            let vouched = edits.iter().rposition(|edit| from.holds(*edit) && belongs(edit));
            let first = vouched.filter(|_| is_cut).map_or(0, |n| n + 1);
            edits[first..].iter().all(|edit| has(edit) || !belongs(edit))
        };
        (!from.tree.is_empty() || self.unmade.iter().any(|(part, _)| *part == input)) && live.iter().all(is_known)
    }
}
