package page

import "strings"

// sign is a word by which a browser tells what it is, and how people call that.
type sign struct{ word, name string }

// browserSigns are in this order because most browsers also say that they are the
// ones behind them here.
var browserSigns = []sign{
	{"Edg/", "Edge"}, {"EdgA/", "Edge"}, {"EdgiOS/", "Edge"}, {"OPR/", "Opera"}, {"SamsungBrowser/", "Samsung Internet"},
	{"Firefox/", "Firefox"}, {"FxiOS/", "Firefox"}, {"Chrome/", "Chrome"}, {"CriOS/", "Chrome"}, {"Safari/", "Safari"},
}

var systemSigns = []sign{
	{"iPhone", "iPhone"}, {"iPad", "iPad"}, {"Android", "Android"}, {"Windows", "Windows"}, {"CrOS", "ChromeOS"}, {"Macintosh", "Mac"}, {"Linux", "Linux"},
}

// browserOf says in words that people use what a browser tells of itself; "" where
// that is nothing known. No text of the browser's own is kept.
func browserOf(userAgent string) (browser, system string) {
	return first(browserSigns, userAgent), first(systemSigns, userAgent)
}

func first(signs []sign, text string) string {
	for _, s := range signs {
		if strings.Contains(text, s.word) {
			return s.name
		}
	}
	return ""
}
