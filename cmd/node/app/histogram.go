package app

import (
	"fmt"
	"io"
	"math/bits"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"
)

// histogram counts durations in buckets that grow with them: 16 for each power
// of two, so that a quantile is right to 6 %.
type histogram struct {
	buckets       [64 * perOctave]uint64
	n             uint64
	sum, min, max time.Duration
}

const (
	octaveBits = 4
	perOctave  = 1 << octaveBits
)

func (h *histogram) note(d time.Duration) {
	d = max(d, 0)
	if h.n == 0 || d < h.min {
		h.min = d
	}
	h.max = max(h.max, d)
	h.n++
	h.sum += d
	h.buckets[bucketOf(d)]++
}

func (h *histogram) add(o *histogram) {
	if o.n == 0 {
		return
	}
	if h.n == 0 || o.min < h.min {
		h.min = o.min
	}
	h.max = max(h.max, o.max)
	h.n += o.n
	h.sum += o.sum
	for i, n := range o.buckets {
		h.buckets[i] += n
	}
}

func bucketOf(d time.Duration) int {
	v := uint64(d)
	if v < perOctave {
		return int(v)
	}
	octave := bits.Len64(v) - octaveBits - 1
	return octave*perOctave + int(v>>octave)
}

// from is the least duration of a bucket.
func from(bucket int) time.Duration {
	if bucket < perOctave {
		return time.Duration(bucket)
	}
	octave := bucket/perOctave - 1
	return time.Duration(uint64(bucket%perOctave+perOctave) << octave)
}

// quantile is what a part of all, 0 to 1, did not exceed.
func (h *histogram) quantile(q float64) time.Duration {
	rank := uint64(q * float64(h.n))
	var seen uint64
	for i, n := range h.buckets {
		if seen += n; seen > rank {
			return min(max(from(i+1)-1, h.min), h.max)
		}
	}
	return h.max
}

// barRows is how many lines a histogram has at most.
const barRows = 12

// write draws the buckets, some together so that they fit.
func (h *histogram) write(w io.Writer) {
	first, last := bucketOf(h.min), bucketOf(h.max)
	step := (last-first)/barRows + 1
	type row struct {
		upTo time.Duration
		n    uint64
	}
	var rows []row
	var most uint64
	for i := first; i <= last; i += step {
		r := row{upTo: min(from(i+step), h.max)}
		for _, n := range h.buckets[i:min(i+step, last+1)] {
			r.n += n
		}
		most = max(most, r.n)
		rows = append(rows, r)
	}
	const widest = 40
	for _, r := range rows {
		bar := strings.Repeat("#", int((r.n*widest+most-1)/most))
		fmt.Fprintf(w, "  <= %8v  %-*s  %d\n", short(r.upTo), widest, bar, r.n)
	}
}

// short rounds a duration to three figures.
func short(d time.Duration) time.Duration {
	unit := time.Duration(1)
	for d/unit >= 1000 {
		unit *= 10
	}
	return d.Round(unit)
}

// uncoloured is a text without the codes of colours.
func uncoloured(s string) string { return ansi.Strip(s) }
