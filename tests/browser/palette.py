"""A picture of the browser's with at most 256 colours: a page is flat, so it looks the same at a third of the bytes."""

import base64
import struct
import zlib

from playwright.sync_api import Page

_COUNT = """async (png) => {
  const picture = await createImageBitmap(await (await fetch('data:image/png;base64,' + png)).blob());
  const { width, height } = picture, context = new OffscreenCanvas(width, height).getContext('2d');
  context.drawImage(picture, 0, 0);
  const raw = context.getImageData(0, 0, width, height).data, counts = new Map();
  const at = (k) => (raw[4 * k] << 16) | (raw[4 * k + 1] << 8) | raw[4 * k + 2];
  for (let k = 0; k < width * height; k++) counts.set(at(k), (counts.get(at(k)) || 0) + 1);
  const palette = [...counts].sort((a, b) => b[1] - a[1]).slice(0, 256).map(([colour]) => colour);
  const apart = (a, b) => ((a >> 16) - (b >> 16)) ** 2 + ((a >> 8 & 255) - (b >> 8 & 255)) ** 2 + ((a & 255) - (b & 255)) ** 2;
  const places = new Map(palette.map((colour, place) => [colour, place]));
  for (const colour of counts.keys()) if (!places.has(colour)) {
    let best = 0;
    for (let k = 1; k < palette.length; k++) if (apart(colour, palette[k]) < apart(colour, palette[best])) best = k;
    places.set(colour, best);
  }
  let rows = '';
  for (let y = 0; y < height; y++) {
    const row = new Uint8Array(width + 1);
    for (let x = 0; x < width; x++) row[x + 1] = places.get(at(y * width + x));
    rows += String.fromCharCode(...row);
  }
  return [width, height, palette, btoa(rows)];
}"""


def small(blank: Page, png: bytes) -> bytes:
    """``png`` as an image of 8 bits a pixel (PNG, colour type 3); ``blank`` is a page without a content policy."""
    width, height, palette, rows = blank.evaluate(_COUNT, base64.b64encode(png).decode())
    colours = b"".join(struct.pack(">I", colour)[1:] for colour in palette)
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    body = zlib.compress(base64.b64decode(rows), 9)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in ((b"IHDR", header), (b"PLTE", colours), (b"IDAT", body), (b"IEND", b""))
    )
