package sessions

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// Config is a registry's. The zero value has room for 100,000 sessions, which
// are over 30 minutes after their last touch.
type Config struct {
	// Capacity is the most sessions there can be. Default 100,000.
	Capacity int `json:"capacity,omitempty"`
	// TTL is how long a session lasts whose Create has no TTL, a millisecond at
	// least. Default 30 min.
	TTL time.Duration `json:"ttl,omitempty"`
	// MaxTTL is the longest that a Create or a Touch may ask for. Default a year
	// of 365 days, which is less than a time of day given by mistake.
	MaxTTL time.Duration `json:"max_ttl,omitempty"`
	// MaxAge is how long a session can last in all, however often it is touched.
	// Default no limit.
	MaxAge time.Duration `json:"max_age,omitempty"`
	// EvictEvery is the time between two rounds that free the memory of sessions
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
		c.TTL = min(30*time.Minute, max(c.MaxTTL, time.Millisecond))
	}
	if c.MaxAge == 0 {
		c.MaxAge = math.MaxInt64
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
	}{{"ttl", c.TTL}, {"max_ttl", c.MaxTTL}, {"max_age", c.MaxAge}, {"evict_every", c.EvictEvery}} {
		if d.value < time.Millisecond { // a number meant as seconds reads as nanoseconds in JSON
			errs = append(errs, fmt.Errorf("%s: %v is less than 1ms", d.field, d.value))
		}
	}
	if c.TTL > c.MaxTTL {
		errs = append(errs, fmt.Errorf("ttl: %v is more than max_ttl, %v", c.TTL, c.MaxTTL))
	}
	return c, errors.Join(errs...)
}
