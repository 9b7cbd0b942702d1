package topology

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// inOtherWords are what the same thing is called elsewhere.
var inOtherWords = map[string]string{
	"never":               "temporary",
	"no":                  "temporary",
	"always":              "permanent",
	"on-failure":          "transient",
	"on_failure":          "transient",
	"simple_one_for_one":  "dynamic_supervisor",
	"dynamic":             "dynamic_supervisor",
	"max_spawns":          "max_total_spawns",
	"intensity":           "max_restarts",
	"period":              "restart_window",
	"missed_heartbeats":   "missed_heartbeats_threshold",
	"brutal":              "brutal_kill",
	"kill":                "brutal_kill",
	"global":              "cluster",
	"node":                "local",
	"args":                "config",
	"class":               "type",
	"url":                 "servers",
	"creds":               "credentials",
	"memory":              "in_process",
	"exponential_backoff": "exponential",
}

// nearest is the known word that was most likely meant; "" for none.
func nearest(word string, known []string) string {
	word = strings.ToLower(word)
	if other := inOtherWords[word]; slices.Contains(known, other) {
		return other
	}
	best, distance := "", 0
	for _, k := range known {
		d := edits(word, strings.ToLower(k))
		if d <= max(len(k), len(word))/3 && (best == "" || d < distance) {
			best, distance = k, d
		}
	}
	if best != "" || len(word) < 3 {
		return best
	}
	// The last part of a dotted name, or one that is only longer.
	for _, k := range known {
		if low := strings.ToLower(k); strings.HasSuffix(low, "."+word) || strings.HasSuffix(word, "."+low) || strings.HasPrefix(low, word+"_") {
			return k
		}
	}
	return ""
}

// didYouMean is the suggestion of the nearest known word.
func didYouMean(word string, known []string) string {
	if near := nearest(word, known); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return ""
}

// edits is how many bytes must be inserted, deleted, changed or swapped with
// their neighbour to make b of a; words too long for a name are just far.
func edits(a, b string) int {
	const longest = 200
	if len(a) > longest || len(b) > longest {
		return longest
	}
	before, last := make([]int, len(b)+1), make([]int, len(b)+1)
	row := make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}

// listed is a list of words for a message, not all of a long one.
func listed(words []string) string {
	const most = 20
	if len(words) > most {
		return strings.Join(words[:most], ", ") + fmt.Sprintf(" and %d more", len(words)-most)
	}
	return strings.Join(words, ", ")
}

// byNearness sorts known words, the likelier meant first.
func byNearness(word string, known []string) []string {
	word = strings.ToLower(word)
	distance := map[string]int{}
	for _, k := range known {
		distance[k] = edits(word, strings.ToLower(k))
	}
	known = slices.Clone(known)
	slices.SortFunc(known, func(a, b string) int {
		return cmp.Or(cmp.Compare(distance[a], distance[b]), cmp.Compare(a, b))
	})
	return known
}

// shorten keeps a hostile file from flooding a message.
func shorten(s string) string {
	const most = 64
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "…"
	}
	return s
}
