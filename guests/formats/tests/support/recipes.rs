//! How each sample is made. `OUT` is its name.

use backlot_formats::Format as F;

/// What the recipes start from: a picture, a film, sound, and text that does not repeat itself.
pub(crate) const SOURCES: &str = r#"
ff() { ffmpeg -nostdin -v error -y "$@"; }
ff -f lavfi -i testsrc2=s=96x64:r=25:d=1 -pix_fmt yuv420p source.y4m
ff -f lavfi -i testsrc2=s=96x64:r=25:d=1 -frames:v 1 -update 1 source.png
ff -f lavfi -i sine=d=1:r=48000 -f lavfi -i anoisesrc=d=1:r=48000:a=0.1:seed=7 \
  -filter_complex amerge -ac 2 source.wav
ff -i source.y4m -i source.wav -c:v libx264 -g 10 -pix_fmt yuv420p -c:a aac source.mp4
python3 - <<'END'
import random
random.seed(7)
words = [''.join(random.choice('abcdefghijklmnoprstuvwyzäöü') for _ in range(random.randint(2, 11)))
         for _ in range(3000)]
with open('source.txt', 'w', encoding='utf-8') as out:
    for _ in range(400):
        out.write(' '.join(random.choice(words) for _ in range(9)) + '\n')
END
cat > source.ps <<'END'
%!PS
/Helvetica findfont 24 scalefont setfont
1 1 20 { 72 exch 30 mul 40 add moveto (A page of text) show } for showpage
newpath 100 100 200 300 rectstroke showpage
END
gs -q -dNOPAUSE -dBATCH -sDEVICE=pdfwrite -sOutputFile=source.pdf source.ps
"#;

/// Format, name, commands.
#[rustfmt::skip]
pub(crate) const RECIPES: &[(F, &str, &str)] = &[
    (F::Png, "ffmpeg.png", "cp source.png OUT"),
    (F::Png, "palette.png", "convert source.png -colors 16 -interlace PNG png8:OUT"),
    (F::Png, "grey-alpha.png", "convert source.png -colorspace Gray -alpha set -depth 16 OUT"),
    (F::Png, "bits.png", "convert source.png -monochrome -resize 37x11 OUT"),
    (F::Png, "animated.apng", "ffmpeg -v error -i source.y4m -frames:v 5 -f apng -plays 0 OUT"),
    (F::Jpeg, "ffmpeg.jpg", "ffmpeg -v error -i source.png -pix_fmt yuvj420p -update 1 OUT"),
    (F::Jpeg, "baseline.jpeg", "convert source.png -quality 85 OUT"),
    (F::Jpeg, "progressive.jpg", "convert source.png -interlace JPEG OUT"),
    (F::Jpeg, "restarts.jpg", "convert source.png ppm:- | cjpeg -restart 1 -optimize > OUT"),
    (F::Jpeg, "arithmetic.jpg", "convert source.png ppm:- | cjpeg -arithmetic -progressive > OUT"),
    (F::Jpeg, "grey.jpg", "convert source.png -colorspace Gray OUT"),
    (F::Gif, "animated.gif", "ffmpeg -v error -i source.y4m -frames:v 8 OUT"),
    (F::Gif, "still.gif", "convert source.png -transparent white OUT"),
    (F::WebP, "lossy.webp", "cwebp -quiet source.png -o OUT"),
    (F::WebP, "lossless.webp", "cwebp -quiet -lossless -metadata all source.png -o OUT"),
    (F::WebP, "alpha.webp", "convert source.png -transparent black a.png; cwebp -quiet a.png -o OUT"),
    (F::WebP, "animated.webp", "ffmpeg -v error -i source.y4m -frames:v 8 -c:v libwebp_anim OUT"),
    (F::Heic, "libheif.heic", "heif-enc source.png -o OUT"),
    (F::Avif, "libheif.avif", "heif-enc -A source.png -o OUT"),
    (F::Avif, "ffmpeg.avif", "ffmpeg -v error -i source.png -c:v libaom-av1 -still-picture 1 -cpu-used 8 OUT"),
    (F::Mp4, "plain.mp4", "cp source.mp4 OUT"),
    (F::Mp4, "faststart.mp4", "ffmpeg -v error -i source.mp4 -c copy -movflags +faststart OUT"),
    (F::Mp4, "fragments.mp4", "ffmpeg -v error -i source.mp4 -c copy -movflags +frag_keyframe+empty_moov OUT"),
    (F::Mp4, "dash.mp4", "ffmpeg -v error -i source.mp4 -c copy -movflags +frag_keyframe+empty_moov+default_base_moof+global_sidx OUT"),
    (F::Mov, "prores.mov", "ffmpeg -v error -i source.y4m -i source.wav -c:v prores -c:a pcm_s16le OUT"),
    (F::M4a, "aac.m4a", "ffmpeg -v error -i source.wav -c:a aac -metadata title=Tone OUT"),
    (F::M4a, "alac.m4a", "ffmpeg -v error -i source.wav -c:a alac OUT"),
    (F::Matroska, "ffmpeg.mkv", "ffmpeg -v error -i source.mp4 -c copy OUT"),
    (F::Matroska, "mkvmerge.mkv", "mkvmerge -q -o OUT source.mp4"),
    (F::Matroska, "chapters.mkv", "printf 'CHAPTER01=00:00:00.000\\nCHAPTER01NAME=One\\n' > c.txt; mkvmerge -q --chapters c.txt -o OUT source.mp4"),
    (F::WebM, "vp9.webm", "ffmpeg -v error -i source.mp4 -c:v libvpx-vp9 -deadline realtime -cpu-used 8 -c:a libopus OUT"),
    (F::WebM, "live.webm", "ffmpeg -v error -i source.mp4 -c:v libvpx -deadline realtime -g 5 -c:a libopus -f webm -live 1 - | cat > OUT"),
    (F::MpegTs, "plain.ts", "ffmpeg -v error -i source.mp4 -c copy -f mpegts OUT"),
    (F::MpegTs, "bluray.m2ts", "ffmpeg -v error -i source.mp4 -c copy -f mpegts -mpegts_m2ts_mode 1 OUT"),
    (F::Y4m, "420.y4m", "ffmpeg -v error -i source.y4m -frames:v 4 OUT"),
    (F::Y4m, "422p10.y4m", "ffmpeg -v error -i source.y4m -frames:v 3 -vf scale=36:21 -pix_fmt yuv422p10 -strict -1 OUT"),
    (F::Y4m, "mono.y4m", "ffmpeg -v error -i source.y4m -frames:v 3 -pix_fmt gray OUT"),
    (F::Ivf, "vp8.ivf", "ffmpeg -v error -i source.y4m -c:v libvpx -deadline realtime OUT"),
    (F::Ivf, "av1.ivf", "ffmpeg -v error -i source.y4m -frames:v 4 -c:v libaom-av1 -cpu-used 8 OUT"),
    (F::Wav, "pcm.wav", "cp source.wav OUT"),
    (F::Wav, "float.wav", "ffmpeg -v error -i source.wav -c:a pcm_f32le OUT"),
    (F::Wav, "odd.wav", "ffmpeg -v error -i source.wav -ac 1 -ar 8000 -af atrim=end_sample=777 -c:a pcm_u8 OUT"),
    (F::Wav, "large.wav", "ffmpeg -v error -i source.wav -rf64 always OUT"),
    (F::Flac, "ffmpeg.flac", "ffmpeg -v error -i source.wav OUT"),
    (F::Flac, "flac.flac", "flac -s -8 -S 10x source.wav -o OUT"),
    (F::Flac, "mono24.flac", "ffmpeg -v error -i source.wav -ac 1 -sample_fmt s32 OUT"),
    (F::Mp3, "lame.mp3", "ffmpeg -v error -i source.wav -c:a libmp3lame -q:a 4 -write_id3v1 1 -metadata title=Tone OUT"),
    (F::Mp3, "no-xing.mp3", "ffmpeg -v error -i source.wav -c:a libmp3lame -b:a 96k -write_xing 0 -id3v2_version 0 OUT"),
    (F::Mp3, "low.mp3", "ffmpeg -v error -i source.wav -ar 22050 -ac 1 -c:a libmp3lame -b:a 48k OUT"),
    (F::Ogg, "vorbis.ogg", "ffmpeg -v error -i source.wav -c:a libvorbis OUT"),
    (F::Ogg, "opus.opus", "ffmpeg -v error -i source.wav -c:a libopus OUT"),
    (F::Ogg, "two.ogg", "ffmpeg -v error -i source.wav -i source.wav -map 0 -map 1 -c:a libvorbis OUT"),
    (F::Pdf, "ghostscript.pdf", "cp source.pdf OUT"),
    (F::Pdf, "linear.pdf", "qpdf --linearize source.pdf OUT"),
    (F::Pdf, "streams.pdf", "qpdf --object-streams=generate source.pdf OUT"),
    (F::Pdf, "plain.pdf", "qpdf --stream-data=uncompress --object-streams=disable source.pdf OUT"),
    (F::Pdf, "encrypted.pdf", "qpdf --encrypt a b 256 -- source.pdf OUT"),
    (F::Pdf, "updated.pdf", "qpdf --object-streams=disable source.pdf OUT; python3 -c '\
import re; b = open(\"OUT\", \"rb\").read(); at = len(b); \
size = int(re.search(rb\"/Size (\\d+)\", b)[1]); prev = int(re.findall(rb\"startxref\\s+(\\d+)\", b)[-1]); \
root = re.search(rb\"/Root (\\d+ \\d+ R)\", b)[1]; \
obj = b\"%d 0 obj\\n<< /Note (an update) >>\\nendobj\\n\" % size; \
x = b\"xref\\n%d 1\\n%010d 00000 n \\ntrailer\\n<< /Size %d /Root %s /Prev %d >>\\nstartxref\\n%d\\n%%%%EOF\\n\" % (size, at, size + 1, root, prev, at + len(obj)); \
open(\"OUT\", \"ab\").write(obj + x)'"),
    (F::Zip, "info-zip.zip", "zip -q OUT source.txt source.png source.wav"),
    (F::Zip, "folders.zip", "mkdir -p d/e; cp source.txt d/e/; cp source.png d/; zip -qr OUT d"),
    (F::Zip, "streamed.zip", "cat source.txt | zip -q - - | cat > OUT"),
    (F::Zip, "stored.zip", "zip -q0 OUT source.txt source.png; echo remark | zip -qz OUT"),
    (F::Zip, "zip64.zip", "python3 -c 'import zipfile; z = zipfile.ZipFile(\"OUT\", \"w\", 8); f = z.open(\"a.txt\", \"w\", force_zip64=True); f.write(open(\"source.txt\", \"rb\").read()); f.close(); z.close()'"),
    (F::Zip, "empty.zip", "python3 -c 'import zipfile; zipfile.ZipFile(\"OUT\", \"w\").close()'"),
    (F::Zip, "nested.zip", "zip -q inner.zip source.txt; zip -q OUT inner.zip source.txt; zip -q0 OUT source.pdf"),
    (F::Docx, "python.docx", "/usr/bin/python3 -c 'import docx; d = docx.Document(); d.add_heading(\"Title\"); d.add_paragraph(\"Text\"); d.save(\"OUT\")'"),
    (F::Xlsx, "python.xlsx", "/usr/bin/python3 -c 'import openpyxl; w = openpyxl.Workbook(); w.active.append([1, 2, \"three\"]); w.save(\"OUT\")'"),
    (F::Odt, "minimal.odt", "mkdir -p o/META-INF; cd o; printf application/vnd.oasis.opendocument.text > mimetype; \
echo '<manifest/>' > META-INF/manifest.xml; echo '<document/>' > content.xml; zip -qX0 ../OUT mimetype; zip -qr ../OUT META-INF content.xml"),
    (F::Epub, "minimal.epub", "mkdir -p p/META-INF; cd p; printf application/epub+zip > mimetype; \
echo '<container/>' > META-INF/container.xml; zip -qX0 ../OUT mimetype; zip -qr ../OUT META-INF"),
    (F::Jar, "minimal.jar", "mkdir -p j/META-INF; cd j; echo 'Manifest-Version: 1.0' > META-INF/MANIFEST.MF; zip -qr ../OUT META-INF"),
    (F::Gzip, "gzip.gz", "gzip -c source.txt > OUT"),
    (F::Gzip, "named.gz", "gzip -kNf9 source.txt; mv source.txt.gz OUT"),
    (F::Gzip, "members.gz", "{ gzip -c source.txt; gzip -c1 source.png; } > OUT"),
    (F::Zstd, "zstd.zst", "zstd -q source.txt -o OUT"),
    (F::Zstd, "streamed.zst", "cat source.wav | zstd -q --no-progress -19 > OUT"),
    (F::Zstd, "frames.zst", "{ zstd -qc source.txt; zstd -qc source.png; printf '\\x50\\x2A\\x4D\\x18\\x03\\0\\0\\0abc'; } > OUT"),
    (F::Json, "jq.json", "jq -n '{a: [1, -2.5e-7, true, null, {\"b\": \"ä\\u0041\\n\"}], c: {}, d: []}' > OUT"),
    (F::Json, "compact.json", "python3 -c 'import json; json.dump([{\"n\": n, \"text\": \"é\" * n} for n in range(50)], open(\"OUT\", \"w\"))'"),
    (F::Csv, "python.csv", "python3 -c 'import csv; w = csv.writer(open(\"OUT\", \"w\", newline=\"\")); w.writerow([\"a\", \"b\", \"c\"]); [w.writerow([n, \"x, \\\"y\\\"\\nz\", \"ü\"]) for n in range(20)]'"),
    (F::Csv, "excel.csv", "printf 'Name;Wert\\r\\nM\\xFCller;1,5\\r\\nJos\\xE9;2\\r\\n' > OUT"),
    (F::Xml, "python.xml", "python3 -c 'import xml.etree.ElementTree as E; r = E.Element(\"r\", k=\"v & w\"); [E.SubElement(r, \"n\", i=str(n)).__setattr__(\"text\", \"ä < b\") for n in range(20)]; E.ElementTree(r).write(\"OUT\", \"utf-8\", xml_declaration=True)'"),
    (F::Xml, "declared.xml", "printf '<?xml version=\"1.0\"?>\\n<!DOCTYPE r SYSTEM \"r.dtd\">\\n<!-- note -->\\n<r><![CDATA[ <x> ]]></r>\\n<!-- end -->\\n' > OUT"),
    (F::Svg, "drawing.svg", "printf '<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"9\" height=\"9\"><rect width=\"4\" height=\"4\"/></svg>\\n' > OUT"),
    (F::Text, "utf8.txt", "cp source.txt OUT"),
    (F::Text, "utf16.txt", "{ printf '\\xFF\\xFE'; iconv -f UTF-8 -t UTF-16LE source.txt; } > OUT"),
    (F::Srt, "cues.srt", "printf '1\\n00:00:01,000 --> 00:00:02,500\\nHello\\nthere\\n\\n2\\n00:00:03,000 --> 00:00:04,000\\nWorld\\n' > OUT"),
    (F::Srt, "ffmpeg.srt", "printf 'WEBVTT\\n\\n00:01.000 --> 00:02.000\\nOne\\n\\n00:03.000 --> 00:04.000\\nTwo\\n' > t.vtt; ffmpeg -v error -i t.vtt OUT"),
    (F::Srt, "latin.srt", "printf '1\\r\\n00:00:01,000 --> 00:00:02,500\\r\\nGr\\xFC\\xDFe\\r\\n' > OUT"),
    (F::Xml, "latin.xml", "printf '<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><r>Gr\\xFC\\xDFe</r>' > OUT"),
    (F::WebVtt, "ffmpeg.vtt", "ffmpeg -v error -i cues.srt OUT"),
    (F::WebVtt, "notes.vtt", "printf 'WEBVTT - Title\\nKind: captions\\n\\nNOTE a note\\n\\nfirst\\n00:01.000 --> 00:02.000 line:0\\nOne\\n\\nSTYLE\\n::cue { color: red }\\n' > OUT"),
];
