//! Owns the Merkle tree of RFC 6962 as tiles of C2SP tlog-tiles: hashes, roots, proofs and their
//! verification. Pure: tiles come from a map, and one that is missing is named so that the caller
//! can fetch it. Called by the log's writer, reader and verifiers.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

/// A node or leaf of the tree.
pub type Hash = [u8; 32];

/// Hashes that a full tile holds.
pub(super) const TILE_WIDTH: u64 = 256;
const TILE_HEIGHT: u32 = 8;

/// A tile that the caller must fetch before the question can be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MissingTile {
    pub(super) level: u32,
    pub(super) index: u64,
}

#[must_use]
pub fn leaf_hash(entry: &[u8]) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update([0]);
    hasher.update(entry);
    hasher.finalize().into()
}

#[must_use]
pub(super) fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update([1]);
    hasher.update(left);
    hasher.update(right);
    hasher.finalize().into()
}

/// The root of no entries.
#[must_use]
pub(super) fn empty_root() -> Hash {
    Sha256::digest([]).into()
}

/// `tile/<L>/<N>[.p/<W>]`, and `tile/entries/…` where there is no level.
#[must_use]
pub(super) fn tile_path(level: Option<u32>, index: u64, width: u64) -> String {
    let level = level.map_or_else(|| "entries".to_owned(), |level| level.to_string());
    let mut parts = vec![format!("{:03}", index % 1000)];
    let mut rest = index / 1000;
    while rest > 0 {
        parts.push(format!("x{:03}", rest % 1000));
        rest /= 1000;
    }
    parts.reverse();
    let partial = if width < TILE_WIDTH {
        format!(".p/{width}")
    } else {
        String::new()
    };
    format!("tile/{level}/{}{partial}", parts.join("/"))
}

/// How many hashes the tile has in a tree of this size; zero where there is none.
#[must_use]
pub(super) fn tile_width(level: u32, index: u64, size: u64) -> u64 {
    let at_level = size.checked_shr(TILE_HEIGHT * level).unwrap_or(0);
    at_level.saturating_sub(index * TILE_WIDTH).min(TILE_WIDTH)
}

/// A tree of a known size over the tiles that were fetched so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Tree {
    pub(super) size: u64,
    pub(super) tiles: BTreeMap<(u32, u64), Vec<Hash>>,
}

impl Tree {
    /// The root of the first `size` leaves.
    pub(super) fn root(&self, size: u64) -> Result<Hash, MissingTile> {
        if size == 0 {
            Ok(empty_root())
        } else {
            self.subtree(0, size)
        }
    }

    /// RFC 6962, 2.1.1: from the leaf's sibling to the root's child.
    pub(super) fn inclusion(&self, index: u64, size: u64) -> Result<Vec<Hash>, MissingTile> {
        let (mut low, mut high, mut path) = (0, size, Vec::new());
        while high - low > 1 {
            let middle = low + split(high - low);
            if index < middle {
                path.push(self.subtree(middle, high)?);
                high = middle;
            } else {
                path.push(self.subtree(low, middle)?);
                low = middle;
            }
        }
        path.reverse();
        Ok(path)
    }

    /// RFC 6962, 2.1.2: that the tree of `old` leaves is the beginning of that of `new`.
    pub(super) fn consistency(&self, old: u64, new: u64) -> Result<Vec<Hash>, MissingTile> {
        let mut proof = Vec::new();
        if old == 0 || old == new {
            return Ok(proof);
        }
        let (mut low, mut high, mut whole) = (0, new, true);
        loop {
            let within = old - low;
            if within == high - low {
                if !whole {
                    proof.push(self.subtree(low, high)?);
                }
                break;
            }
            let middle = low + split(high - low);
            if old <= middle {
                proof.push(self.subtree(middle, high)?);
                high = middle;
            } else {
                proof.push(self.subtree(low, middle)?);
                low = middle;
                whole = false;
            }
        }
        proof.reverse();
        Ok(proof)
    }

    fn subtree(&self, low: u64, high: u64) -> Result<Hash, MissingTile> {
        let width = high - low;
        if width.is_power_of_two() && low.is_multiple_of(width) {
            return self.node(width.trailing_zeros(), low / width);
        }
        let middle = low + split(width);
        Ok(node_hash(
            &self.subtree(low, middle)?,
            &self.subtree(middle, high)?,
        ))
    }

    /// The root of a complete subtree of `2^height` leaves.
    fn node(&self, height: u32, index: u64) -> Result<Hash, MissingTile> {
        let (level, above) = (height / TILE_HEIGHT, height % TILE_HEIGHT);
        let first = index << above;
        let missing = MissingTile {
            level,
            index: first / TILE_WIDTH,
        };
        let tile = self.tiles.get(&(level, missing.index)).ok_or(missing)?;
        let at = (first % TILE_WIDTH) as usize;
        let mut row: Vec<Hash> = tile.get(at..at + (1 << above)).ok_or(missing)?.to_vec();
        while row.len() > 1 {
            row = row
                .chunks(2)
                .map(|pair| node_hash(&pair[0], &pair[1]))
                .collect();
        }
        row.first().copied().ok_or(missing)
    }

    /// Adds leaves at the end; the right edge's tiles must be there. Returns what changed.
    pub(super) fn append(&mut self, leaves: &[Hash]) -> Vec<(u32, u64)> {
        let mut changed = Vec::new();
        for leaf in leaves {
            let (mut level, mut position, mut hash) = (0, self.size, *leaf);
            loop {
                let index = position / TILE_WIDTH;
                let tile = self.tiles.entry((level, index)).or_default();
                tile.push(hash);
                if !changed.contains(&(level, index)) {
                    changed.push((level, index));
                }
                if tile.len() as u64 != TILE_WIDTH {
                    break;
                }
                let mut row = tile.clone();
                while row.len() > 1 {
                    row = row
                        .chunks(2)
                        .map(|pair| node_hash(&pair[0], &pair[1]))
                        .collect();
                }
                hash = row[0];
                level += 1;
                position = index;
            }
            self.size += 1;
        }
        changed
    }
}

/// The largest power of two below a width of two or more.
const fn split(width: u64) -> u64 {
    1 << (u64::BITS - 1 - (width - 1).leading_zeros())
}

/// Whether a leaf stands at an index of the tree with this root.
#[must_use]
pub fn verify_inclusion(leaf: &Hash, index: u64, size: u64, path: &[Hash], root: &Hash) -> bool {
    if index >= size {
        return false;
    }
    let (mut node, mut at, mut last) = (*leaf, index, size - 1);
    for sibling in path {
        if last == 0 {
            return false;
        }
        if at % 2 == 1 || at == last {
            node = node_hash(sibling, &node);
            while at % 2 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            node = node_hash(&node, sibling);
        }
        at >>= 1;
        last >>= 1;
    }
    last == 0 && node == *root
}

/// Whether the tree with the first root is the beginning of the tree with the second.
#[must_use]
pub fn verify_consistency(
    old: u64,
    new: u64,
    proof: &[Hash],
    old_root: &Hash,
    new_root: &Hash,
) -> bool {
    if old > new {
        return false;
    }
    if old == new {
        return proof.is_empty() && old_root == new_root;
    }
    if old == 0 {
        return proof.is_empty() && *old_root == empty_root();
    }
    let mut hashes = proof.iter();
    let first = if old.is_power_of_two() {
        Some(old_root)
    } else {
        hashes.next()
    };
    let Some(first) = first else { return false };
    let (mut at, mut last) = (old - 1, new - 1);
    while at % 2 == 1 {
        at >>= 1;
        last >>= 1;
    }
    let (mut older, mut newer) = (*first, *first);
    for hash in hashes {
        if last == 0 {
            return false;
        }
        if at % 2 == 1 || at == last {
            older = node_hash(hash, &older);
            newer = node_hash(hash, &newer);
            while at % 2 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            newer = node_hash(&newer, hash);
        }
        at >>= 1;
        last >>= 1;
    }
    last == 0 && older == *old_root && newer == *new_root
}

/// Roots of a growing tree, in memory that does not grow with it.
#[derive(Debug, Clone, Default)]
pub(super) struct RunningRoot {
    size: u64,
    /// Roots of complete subtrees, largest first.
    peaks: Vec<Hash>,
}

impl RunningRoot {
    pub(super) fn push(&mut self, leaf: Hash) {
        self.peaks.push(leaf);
        self.size += 1;
        for _ in 0..self.size.trailing_zeros() {
            if let (Some(right), Some(left)) = (self.peaks.pop(), self.peaks.pop()) {
                self.peaks.push(node_hash(&left, &right));
            }
        }
    }

    #[must_use]
    pub(super) fn root(&self) -> Hash {
        let mut peaks = self.peaks.iter().rev();
        let Some(mut root) = peaks.next().copied() else {
            return empty_root();
        };
        for left in peaks {
            root = node_hash(left, &root);
        }
        root
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 6962's definition, word for word.
    fn mth(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => empty_root(),
            [leaf] => *leaf,
            _ => {
                let (left, right) = leaves.split_at(split(leaves.len() as u64) as usize);
                node_hash(&mth(left), &mth(right))
            }
        }
    }

    fn leaves(count: u64) -> Vec<Hash> {
        (0..count).map(|n| leaf_hash(&n.to_be_bytes())).collect()
    }

    #[test]
    fn paths_are_those_of_the_text() {
        assert_eq!(tile_path(Some(0), 1_234_067, 256), "tile/0/x001/x234/067");
        assert_eq!(tile_path(None, 5, 7), "tile/entries/005.p/7");
        // The text's example of 70,000 entries.
        assert_eq!(tile_width(0, 272, 70_000), 256);
        assert_eq!(tile_width(0, 273, 70_000), 112);
        assert_eq!(tile_width(1, 1, 70_000), 17);
        assert_eq!(tile_width(2, 0, 70_000), 1);
        assert_eq!(tile_width(1, 0, 256), 1);
        assert_eq!(tile_width(3, 0, 70_000), 0);
    }

    #[test]
    fn tiles_give_the_roots_of_the_definition() {
        let all = leaves(70_000);
        let mut tree = Tree::default();
        let mut running = RunningRoot::default();
        for (at, chunk) in all.chunks(997).enumerate() {
            tree.append(chunk);
            for leaf in chunk {
                running.push(*leaf);
            }
            if at % 9 == 0 {
                let wanted = mth(&all[..tree.size as usize]);
                assert_eq!(tree.root(tree.size).unwrap(), wanted);
                assert_eq!(running.root(), wanted);
            }
        }
        assert_eq!(tree.tiles[&(2, 0)].len(), 1);
        assert_eq!(tree.tiles[&(1, 1)].len(), 17);
        assert_eq!(tree.tiles[&(0, 273)].len(), 112);
    }

    proptest! {
        #[test]
        fn proofs_hold_and_nothing_else_does(size in 1_u64..700, old in 0_u64..700, index in 0_u64..700, wrong in any::<(usize, u8)>()) {
            let (old, index) = (old % (size + 1), index % size);
            let all = leaves(size);
            let mut tree = Tree::default();
            tree.append(&all);
            let root = mth(&all);
            let path = tree.inclusion(index, size).unwrap();
            prop_assert!(verify_inclusion(&all[index as usize], index, size, &path, &root));
            prop_assert!(!verify_inclusion(&all[index as usize], index + 1, size, &path, &root));
            prop_assert!(!verify_inclusion(&leaf_hash(b"other"), index, size, &path, &root));
            let proof = tree.consistency(old, size).unwrap();
            let old_root = mth(&all[..old as usize]);
            prop_assert!(verify_consistency(old, size, &proof, &old_root, &root));
            if old > 0 {
                prop_assert!(!verify_consistency(old, size, &proof, &leaf_hash(b"fork"), &root));
            }
            for (proof, consistency) in [(&path, false), (&proof, true)] {
                if !proof.is_empty() {
                    let mut bent = proof.clone();
                    let at = wrong.0 % bent.len();
                    bent[at][(wrong.1 % 32) as usize] ^= 1 << (wrong.1 % 8);
                    let passes = if consistency {
                        verify_consistency(old, size, &bent, &old_root, &root)
                    } else {
                        verify_inclusion(&all[index as usize], index, size, &bent, &root)
                    };
                    prop_assert!(!passes);
                    bent = proof[..proof.len() - 1].to_vec();
                    let passes = if consistency {
                        verify_consistency(old, size, &bent, &old_root, &root)
                    } else {
                        verify_inclusion(&all[index as usize], index, size, &bent, &root)
                    };
                    prop_assert!(!passes);
                }
            }
        }
    }
}
