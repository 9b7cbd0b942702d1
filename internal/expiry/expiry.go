// Package expiry is a map whose entries are over at a time each: the common
// part of the services that keep things for a while. It has no clock; its times
// are durations since a moment that its user chooses.
package expiry

import (
	"container/heap"
	"math"
	"time"
)

// Map finds entries by key, and those that are over by their time. An entry
// that is over stays until it is deleted. The zero Map is empty and ready. It
// is for one goroutine at a time.
type Map[V any] struct {
	byKey map[string]*Entry[V]
	order order[V]
}

// Entry is a value in a [Map]. Its Value may be changed in place.
type Entry[V any] struct {
	Value V

	key   string
	over  time.Duration
	index int // in the heap
}

// Key is what the entry is found by.
func (e *Entry[V]) Key() string { return e.key }

// Left is how long the entry still lasts; zero or less, and it is over.
func (e *Entry[V]) Left(now time.Duration) time.Duration { return e.over - now }

// Over reports whether the entry is over: at its very time it is.
func (e *Entry[V]) Over(now time.Duration) bool { return now >= e.over }

// Len counts the entries, those that are over included.
func (m *Map[V]) Len() int { return len(m.order) }

// Get is the entry of a key, over or not, or nil.
func (m *Map[V]) Get(key string) *Entry[V] { return m.byKey[key] }

// Add makes an entry of a key that has none, which is over ttl from now.
func (m *Map[V]) Add(key string, v V, now, ttl time.Duration) *Entry[V] {
	if m.byKey == nil {
		m.byKey = map[string]*Entry[V]{}
	}
	e := &Entry[V]{Value: v, key: key, over: After(now, ttl)}
	m.byKey[key] = e
	heap.Push(&m.order, e)
	return e
}

// Move has an entry of this Map be over ttl from now.
func (m *Map[V]) Move(e *Entry[V], now, ttl time.Duration) {
	e.over = After(now, ttl)
	heap.Fix(&m.order, e.index)
}

// Delete takes out an entry of this Map.
func (m *Map[V]) Delete(e *Entry[V]) {
	heap.Remove(&m.order, e.index)
	delete(m.byKey, e.key)
}

// First is the entry that is over first, whether it is yet or not; nil where
// there is none.
func (m *Map[V]) First() *Entry[V] {
	if len(m.order) == 0 {
		return nil
	}
	return m.order[0]
}

// After is now and ttl, or the latest time there is.
func After(now, ttl time.Duration) time.Duration { return now + min(ttl, math.MaxInt64-now) }

// order is a heap by time.
type order[V any] []*Entry[V]

func (o order[V]) Len() int           { return len(o) }
func (o order[V]) Less(i, j int) bool { return o[i].over < o[j].over }

func (o order[V]) Swap(i, j int) {
	o[i], o[j] = o[j], o[i]
	o[i].index, o[j].index = i, j
}

func (o *order[V]) Push(x any) {
	e := x.(*Entry[V])
	e.index = len(*o)
	*o = append(*o, e)
}

func (o *order[V]) Pop() any {
	last := len(*o) - 1
	e := (*o)[last]
	(*o)[last] = nil
	*o = (*o)[:last]
	return e
}
