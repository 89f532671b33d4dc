// Verifies an idleproof audit log with Go's checksum database code (golang.org/x/mod/sumdb/note and
// tlog), which shares nothing with idleproof. It knows the layout of c2sp.org/tlog-tiles and the form of
// c2sp.org/tlog-proof; all cryptography is Go's.
//
// Usage: tlog log FOLDER VKEY | proof FILE VKEY | consistency FOLDER VKEY OLD.note
package main

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const height = 8

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

// tree reads a checkpoint that the key signed.
func tree(text []byte, key string) (string, tlog.Tree) {
	verifier := must(note.NewVerifier(key))
	opened := must(note.Open(text, note.VerifierList(verifier)))
	lines := strings.Split(opened.Text, "\n")
	if len(lines) < 4 || lines[0] != verifier.Name() {
		log.Fatal("the checkpoint is of another log")
	}
	size := must(strconv.ParseInt(lines[1], 10, 64))
	return lines[0], tlog.Tree{N: size, Hash: must(tlog.ParseHash(lines[2]))}
}

func newest(folder string) []byte {
	names := must(filepath.Glob(filepath.Join(folder, "checkpoints", "*.note")))
	sort.Strings(names)
	if len(names) == 0 {
		log.Fatal("no checkpoint")
	}
	return must(os.ReadFile(names[len(names)-1]))
}

// tiles reads tiles where c2sp.org/tlog-tiles has them: Go's path without the height.
type tiles string

func (folder tiles) Height() int { return height }

func (folder tiles) SaveTiles([]tlog.Tile, [][]byte) {}

func (folder tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	var found [][]byte
	for _, tile := range wanted {
		path := strings.Replace(tile.Path(), "tile/8/", "tile/", 1)
		data, err := os.ReadFile(filepath.Join(string(folder), path))
		if err != nil {
			return nil, err
		}
		found = append(found, data)
	}
	return found, nil
}

// entries of a bundle: each with its length in two bytes before it.
func entries(folder string, size int64, each func(int64, []byte)) {
	for first := int64(0); first < size; first += 1 << height {
		width := min(size-first, 1<<height)
		tile := tlog.Tile{H: height, L: -1, N: first >> height, W: int(width)}
		path := strings.Replace(tile.Path(), "tile/8/data/", "tile/entries/", 1)
		rest := must(os.ReadFile(filepath.Join(folder, path)))
		for at := range width {
			if len(rest) < 2 || len(rest) < 2+int(binary.BigEndian.Uint16(rest)) {
				log.Fatalf("%s is cut off", path)
			}
			length := 2 + int(binary.BigEndian.Uint16(rest))
			each(first+at, rest[2:length])
			rest = rest[length:]
		}
		if len(rest) > 0 {
			log.Fatalf("%s holds more than its name says", path)
		}
	}
}

func verifyLog(folder, key string) {
	origin, head := tree(newest(folder), key)
	// Readers of tiles check each against the signed root before they use it.
	reader := tlog.TileHashReader(head, tiles(folder))
	var indices []int64
	var hashes []tlog.Hash
	entries(folder, head.N, func(index int64, entry []byte) {
		indices = append(indices, tlog.StoredHashIndex(0, index))
		hashes = append(hashes, tlog.RecordHash(entry))
	})
	for index, stored := range must(reader.ReadHashes(indices)) {
		if stored != hashes[index] {
			log.Fatalf("entry %d is not what the tree holds", index)
		}
	}
	longest := 0
	for index := int64(0); index < head.N; index += max(1, head.N/64) {
		proof := must(tlog.ProveRecord(head.N, index, reader))
		if err := tlog.CheckRecord(proof, head.N, head.Hash, index, hashes[index]); err != nil {
			log.Fatal(err)
		}
		longest = max(longest, len(proof))
	}
	fmt.Printf("verified: %s, %d entries, inclusion proofs of %d hashes at most\n", origin, head.N, longest)
}

func verifyProof(path, key string) {
	text := string(must(os.ReadFile(path)))
	above, below, found := strings.Cut(text, "\n\n")
	lines := strings.Split(above, "\n")
	if !found || len(lines) < 3 || lines[0] != "c2sp.org/tlog-proof@v1" {
		log.Fatal("this is no proof")
	}
	entry := must(base64.StdEncoding.DecodeString(strings.TrimPrefix(lines[1], "extra ")))
	index := must(strconv.ParseInt(strings.TrimPrefix(lines[2], "index "), 10, 64))
	var proof tlog.RecordProof
	for _, line := range lines[3:] {
		proof = append(proof, must(tlog.ParseHash(line)))
	}
	origin, head := tree([]byte(below), key)
	if err := tlog.CheckRecord(proof, head.N, head.Hash, index, tlog.RecordHash(entry)); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("verified: entry %d of %d in %s\n", index, head.N, origin)
}

func verifyConsistency(folder, key, old string) {
	_, before := tree(must(os.ReadFile(old)), key)
	_, head := tree(newest(folder), key)
	proof := must(tlog.ProveTree(head.N, before.N, tlog.TileHashReader(head, tiles(folder))))
	if err := tlog.CheckTree(proof, head.N, head.Hash, before.N, before.Hash); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("verified: %d entries continue the %d of the older checkpoint, %d hashes\n", head.N, before.N, len(proof))
}

func main() {
	log.SetFlags(0)
	switch {
	case len(os.Args) == 4 && os.Args[1] == "log":
		verifyLog(os.Args[2], os.Args[3])
	case len(os.Args) == 4 && os.Args[1] == "proof":
		verifyProof(os.Args[2], os.Args[3])
	case len(os.Args) == 5 && os.Args[1] == "consistency":
		verifyConsistency(os.Args[2], os.Args[3], os.Args[4])
	default:
		log.Fatal("usage: tlog log FOLDER VKEY | proof FILE VKEY | consistency FOLDER VKEY OLD.note")
	}
}
