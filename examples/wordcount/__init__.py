"""WordCount: lines become words, words become counts, and any worker answers for any word."""
