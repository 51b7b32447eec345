package broker

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// naive is MQTT's matching, written out level by level [MQTT-4.7].
func naive(filter, topic []string) bool {
	if len(filter) > 0 && filter[0] == "#" {
		return true
	}
	if len(filter) == 0 || len(topic) == 0 {
		return len(filter) == 0 && len(topic) == 0 || len(topic) == 0 && len(filter) == 1 && filter[0] == "#"
	}
	return (filter[0] == "+" || filter[0] == topic[0]) && naive(filter[1:], topic[1:])
}

// Whatever a filter or a topic is: what a device may subscribe to matches
// nothing beyond its own and the site's topics, what it may publish to is one of
// the seven it has, and answers go nowhere else.
func FuzzTopics(f *testing.F) {
	for _, s := range [][2]string{
		{"edgegw/v1/pump-01/receipt", "edgegw/v1/pump-01/receipt"}, {"edgegw/v1/pump-01/#", "edgegw/v1/pump-01"}, {"edgegw/v1/site/#", "edgegw/v1/site/status"},
		{"edgegw/v1/+/receipt", "edgegw/v1/pump-02/receipt"}, {"#", "$SYS/x"}, {"$share/g/edgegw/v1/pump-01/x", "edgegw/v1/pump-01/x"}, {"edgegw/v1/pump-01/+", "edgegw/v1/pump-01/"},
		{"edgegw/v1/pump-01/a#", "edgegw/v1/pump-01/a"}, {"", ""}, {"/", "/"}, {"+/+", "a/b"}, {"edgegw/v1/pump-01/sale", "edgegw/v1/pump-01/sale/start"}, {"edgegw/v1/pump-01/../pump-02/x", "edgegw/v1/pump-02/x"},
	} {
		f.Add(s[0], s[1])
	}
	const own = topicRoot + "pump-01/"
	f.Fuzz(func(t *testing.T, filter, topic string) {
		if wellFormed(filter) {
			if got, want := matches(filter, topic), naive(strings.Split(filter, "/"), strings.Split(topic, "/")); got != want {
				t.Errorf("%q covers %q: %v, want %v", filter, topic, got, want)
			}
			ours := topic == strings.TrimSuffix(own, "/") || topic == topicRoot+"site" || strings.HasPrefix(topic, own) || strings.HasPrefix(topic, topicRoot+"site/")
			if maySubscribe(own, filter) && matches(filter, topic) && !ours {
				t.Errorf("a device may subscribe to %q, which covers %q", filter, topic)
			}
		} else if maySubscribe(own, filter) {
			t.Errorf("%q is no filter and may be subscribed to", filter)
		}
		if r, k := routeOf(own, topic); r != routeForbidden {
			if !strings.HasPrefix(topic, own) || strings.ContainsAny(topic, "+#") || !utf8.ValidString(topic) || (r == routeSale) != (k != 0) {
				t.Errorf("a device may publish to %q", topic)
			}
		}
		if mayAnswerAt(own, topic) && (!strings.HasPrefix(topic, own) || topic == own || strings.ContainsAny(topic, "+#")) {
			t.Errorf("an answer may go to %q", topic)
		}
	})
}
