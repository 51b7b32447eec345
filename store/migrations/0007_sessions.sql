-- Where somebody has logged in from, so that he and the owner can tell his browsers
-- apart. Of what a browser says of itself two words are kept that the page chose.
ALTER TABLE session ADD COLUMN address TEXT NOT NULL DEFAULT ''; -- '': logged in before this was noted
ALTER TABLE session ADD COLUMN browser TEXT NOT NULL DEFAULT ''; -- '': not known
ALTER TABLE session ADD COLUMN system  TEXT NOT NULL DEFAULT '';
