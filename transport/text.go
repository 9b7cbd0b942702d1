package transport

// texts keeps strings that come again and again, so that they are made once:
// ops, servers and nodes. It belongs to one goroutine; a nil one keeps nothing.
type texts struct {
	known  map[string]string
	recent [64]string // of known, each in its place: to look there costs less than the map does
}

// maxTexts bounds what others can have it keep; then it begins anew.
const maxTexts = 4096

func (t *texts) get(b []byte) string {
	if t == nil || len(b) == 0 {
		return string(b)
	}
	recent := &t.recent[(31*len(b)+int(b[0])+7*int(b[len(b)/2])+13*int(b[len(b)-1]))%len(t.recent)]
	if *recent == string(b) {
		return *recent
	}
	*recent = t.remember(b)
	return *recent
}

func (t *texts) remember(b []byte) string {
	if s, ok := t.known[string(b)]; ok {
		return s
	}
	if t.known == nil || len(t.known) >= maxTexts {
		t.known = make(map[string]string)
	}
	s := string(b)
	t.known[s] = s
	return s
}
