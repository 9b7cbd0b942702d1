package cluster

import (
	"context"
	"errors"
)

// Store holds a cluster's records, each under a [Key], and changes them by
// compare-and-set on their sequence. Sequences are the whole store's: every
// accepted write, deletions included, takes the next one, and none comes twice.
//
// A write's result is one of four, and says just so much:
//
//	nil             it is done, and was the first to change the sequence it expected
//	ErrConflict     it is not done and never will be: the record was another than expected
//	ErrUnavailable  it is not done and never will be: it did not reach the store
//	ErrUnknown      nothing: it may be done, or be done later, or never
//
// Test for them with errors.Is. Any other error is a mistake in the arguments;
// nothing was done then either.
//
// Each method waits no longer than its context, and, if that has no deadline,
// no longer than a few seconds. All methods may be called at once from many
// goroutines. The interface is for this module's implementations and for tests;
// methods may be added to it.
type Store interface {
	// Get reads a record. It may return an older state than the newest, also
	// after a newer one was seen; it never returns what was not written.
	//
	// ErrNotFound means that there was no record. The Entry's Seq is then the sequence of
	// its deletion, or 0 if there never was one or it is long ago.
	// ErrUnavailable means that the store did not answer.
	Get(ctx context.Context, k Key) (Entry, error)

	// Create writes a record that must not exist, and returns its sequence.
	// After ErrConflict, Get tells who was first.
	Create(ctx context.Context, k Key, value []byte) (seq uint64, err error)

	// Update replaces the record that has the sequence expect, and returns the
	// new one.
	Update(ctx context.Context, k Key, value []byte, expect uint64) (seq uint64, err error)

	// Finish is Update with a value that is the record's last: nobody will write
	// it again, and the store may forget it after a day, as if it had been deleted.
	Finish(ctx context.Context, k Key, value []byte, expect uint64) (seq uint64, err error)

	// Delete removes the record that has the sequence expect. A later Create
	// succeeds, with a higher sequence. Where there is no record, expect may be
	// the sequence that Get returned with ErrNotFound, 0 included: then a write
	// that was sent before and expects there to be none is refused, should it
	// still arrive.
	Delete(ctx context.Context, k Key, expect uint64) error

	// List reads all records of one kind, in no order. Each is as Get would have
	// read it at some time during the List, so that some may be missing that
	// were written meanwhile. ErrUnavailable means that the store did not answer.
	List(ctx context.Context, kind Kind) ([]Entry, error)

	// Watch calls fn for the writes to records of one kind (those with a name,
	// unless the kind has but one) that are accepted after Watch returned: in order and one at a time, from a goroutine
	// of the Store's. Copies can be lost, as when the connection is: whoever
	// relies on a record reads it again now and then. A Change is a hint, as Get's
	// result is.
	//
	// fn should be quick and must not call stop or Close. stop ends the watch
	// and waits until fn is not and will not be running; it may be called again.
	Watch(ctx context.Context, kind Kind, fn func(Change)) (stop func(), err error)

	// Close ends all watches and waits for them. Every method returns
	// ErrUnavailable from then on; what is under way goes on.
	Close() error
}

// Entry is a record as it was read.
type Entry struct {
	Key   Key
	Value []byte
	// Seq is the sequence of the write; Update and Delete expect it.
	Seq uint64
}

// Change is an accepted write, as a watch sees it.
type Change struct {
	Key Key
	// Value is nil if the record was deleted.
	Value   []byte
	Deleted bool
	// Seq is the write's sequence.
	Seq uint64
	// Prev is the sequence of the write to the same key before it, deletions
	// included; 0 if there was none or it is long ago.
	Prev uint64
}

var (
	// ErrNotFound means that the read found no record. There may be one now.
	ErrNotFound = errors.New("no such record")
	// ErrConflict means that the record was not as the write expected. The write was not
	// done and will not be. That another has been done is certain, what it said
	// is not: read.
	ErrConflict = errors.New("record was changed by another")
	// ErrUnknown means that the write was sent and no acknowledgement came in time. It may
	// have been done, or may yet be. It must be treated as neither: only a later
	// write that succeeds, or a read that shows one of the two, settles it.
	ErrUnknown = errors.New("outcome unknown")
	// ErrUnavailable means that the store could not be reached, or refused. A write was
	// not done and will not be; a read says nothing about the record.
	ErrUnavailable = errors.New("record store is unavailable")
)
