package node

import "sync/atomic"

// recent finds what is looked up for every message without a lock: each key has a place,
// which it shares with few others and which has the value that was put there last. The
// value knows its key.
type recent[V any] struct{ places [64]atomic.Pointer[V] }

// at is the key's place. Only the end of a key is looked at: there names that are many
// differ.
func (r *recent[V]) at(key string) *atomic.Pointer[V] {
	h := uint32(len(key))
	for i := max(0, len(key)-8); i < len(key); i++ {
		h = 31*h + uint32(key[i])
	}
	return &r.places[h%uint32(len(r.places))]
}

func (r *recent[V]) clear() {
	for i := range r.places {
		r.places[i].Store(nil)
	}
}
