package secret

import (
	"crypto/hmac"
	"crypto/sha256"
	"hash"
)

// MAC computes HMAC-SHA256 of public and then secretBytes, and leaves no copy of
// those. crypto/sha256 keeps what is not yet a whole block in its state, and copies
// that onto the stack for a sum; nobody clears either, and a stack that grows meanwhile
// is left behind as it is. So the same is computed of zeros, before, when the stack
// grows, and after, in the same places; and nothing is allocated between.
func MAC(key []byte, public string, secretBytes []byte) []byte {
	mac, begin, zeros := hmac.New(sha256.New, key), []byte(public), make([]byte, len(secretBytes))
	made, nothing := make([]byte, 0, sha256.Size), make([]byte, 0, sha256.Size)
	sum(nothing, mac, begin, zeros)
	made = sum(made, mac, begin, secretBytes)
	sum(nothing, mac, begin, zeros)
	return made
}

// sum is not inlined: its frame, and those of what it calls, are to be in one place.
//
//go:noinline
func sum(to []byte, mac hash.Hash, begin, end []byte) []byte {
	mac.Reset()
	mac.Write(begin)
	mac.Write(end)
	return mac.Sum(to)
}
