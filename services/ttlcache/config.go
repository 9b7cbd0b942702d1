package ttlcache

import (
	"errors"
	"fmt"
	"time"
)

// Config is a cache's. The zero value is a cache of 100,000 entries, for a
// minute each unless their Set says otherwise.
type Config struct {
	// Capacity is the most entries there can be. Default 100,000.
	Capacity int `json:"capacity,omitempty"`
	// TTL is how long an entry lasts whose Set has no TTL, a millisecond at
	// least. Default 1 min.
	TTL time.Duration `json:"ttl,omitempty"`
	// MaxTTL is the longest that a Set may ask for. Default a year of 365 days,
	// which is less than a time of day given by mistake.
	MaxTTL time.Duration `json:"max_ttl,omitempty"`
	// EvictEvery is the time between two rounds that free the memory of entries
	// that are over, a millisecond at least. Default 10 s.
	EvictEvery time.Duration `json:"evict_every,omitempty"`
}

func (c Config) withDefaults() (Config, error) {
	if c.Capacity == 0 {
		c.Capacity = 100_000
	}
	if c.MaxTTL == 0 {
		c.MaxTTL = 365 * 24 * time.Hour
	}
	if c.TTL == 0 {
		c.TTL = min(time.Minute, max(c.MaxTTL, time.Millisecond))
	}
	if c.EvictEvery == 0 {
		c.EvictEvery = 10 * time.Second
	}
	var errs []error
	if c.Capacity < 0 {
		errs = append(errs, fmt.Errorf("capacity: %d is negative", c.Capacity))
	}
	for _, d := range []struct {
		field string
		value time.Duration
	}{{"ttl", c.TTL}, {"max_ttl", c.MaxTTL}, {"evict_every", c.EvictEvery}} {
		if d.value < time.Millisecond { // a number meant as seconds reads as nanoseconds in JSON
			errs = append(errs, fmt.Errorf("%s: %v is less than 1ms", d.field, d.value))
		}
	}
	if c.TTL > c.MaxTTL {
		errs = append(errs, fmt.Errorf("ttl: %v is more than max_ttl, %v", c.TTL, c.MaxTTL))
	}
	return c, errors.Join(errs...)
}
