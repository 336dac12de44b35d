"""Actions: named events, made of an event name and conditions on the page, the element and the properties."""
