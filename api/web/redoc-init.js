"use strict";
const font = "system-ui, sans-serif"; // ReDoc would otherwise name fonts of Google's
Redoc.init(
  "/api/openapi.json",
  { theme: { typography: { fontFamily: font, headings: { fontFamily: font } } } },
  document.getElementById("docs"),
);
