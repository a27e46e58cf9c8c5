// Signed distances of the sitter. Unit: about a tenth of a metre; +x is screen right, +y up,
// +z towards the camera. Head space has its origin between the ears. WHO is 0 (room) or 1 (hills).
uniform mat3 uHeadR;       // head space -> world
uniform vec3 uHeadT;
uniform vec3 uNeck;        // world position of the base of the skull
uniform vec4 uFace;        // blink 0..1, mouth opening 0..1, smile 0..1, brow raise -1..1
uniform vec2 uGaze;        // radians right, up
uniform vec4 uArm[8];      // four round cones (upper arm, forearm) x 2: a.xyz ra, b.xyz rb
uniform vec4 uHand[40];    // 4 metacarpals, thenar, 12 phalanges, 3 thumb bones
uniform vec4 uHandBound;   // centre, radius; radius 0 means that no hand is shown
uniform float uBreath;

const vec3 EYE = vec3(.335, .0, .60);
const float EYE_R = .215;

float gSkin, gHair, gCloth, gEye, gPhones, gTeeth, gHand, gBrow, gGlass;

float smin(float a, float b, float k) { float h = max(k - abs(a - b), 0.) / k; return min(a, b) - h * h * k * .25; }
float smax(float a, float b, float k) { return -smin(-a, -b, k); }
float ell(vec3 p, vec3 r) { float k = length(p / r); return k * (k - 1.) / max(length(p / (r * r)), 1e-4); }
float cone(vec3 p, vec4 a, vec4 b) {
    vec3 pa = p - a.xyz, ba = b.xyz - a.xyz;
    float h = clamp(dot(pa, ba) / dot(ba, ba), 0., 1.);
    return length(pa - ba * h) - mix(a.w, b.w, h);
}
mat2 rot(float a) { float c = cos(a), s = sin(a); return mat2(c, s, -s, c); }
float rbox(vec3 p, vec3 b, float r) { vec3 q = abs(p) - b + r; return length(max(q, 0.)) + min(max(q.x, max(q.y, q.z)), 0.) - r; }

// Lid opening in eye-local xy (x points outward): negative inside; y = distance to the upper edge.
vec2 lidOpening(vec2 q) {
    q.y -= .10 * q.x;
    float w = 1. - q.x * q.x / (.205 * .205);
    float sm = uFace.z * .030;
    float lower = (-.088 + sm) * w, upper = mix(.104 * w, lower, min(uFace.x * 1.02, 1.));
#if WHO == 1
    upper = mix(.092 * w, lower, min(uFace.x * 1.02, 1.));
#endif
    float u = (q.y - upper) / (1. + 2.2 * abs(q.x)), l = (lower - q.y) / (1. + 1.6 * abs(q.x));
    return vec2(max(max(u, l), abs(q.x) - .2), u);
}

vec3 mouthSpace(vec3 p) {
    vec3 q = p - vec3(0, -.535, .855);
    q.y -= uFace.z * 1.25 * q.x * q.x - uFace.z * .012;
    q.z += .95 * q.x * q.x;
    return q;
}

float lips(vec3 q) {
    float o = uFace.y, w = 1. + .18 * uFace.z - .18 * o;
    float ax = abs(q.x);
    float up = ell(q - vec3(0, .036 + .035 * o - .25 * (ax - .09) * (ax - .09), .0), vec3(.255 * w, .041, .068));
    float lo = ell(q - vec3(0, -.043 - .155 * o, -.004 - .03 * o), vec3(.20 * w, .049, .074));
    return smin(up, lo, .015);
}

float headSkin(vec3 p) {
    vec3 s = vec3(abs(p.x), p.yz);
    float o = uFace.y, sm = uFace.z;
    float d = ell(p - vec3(0, .36, -.12), vec3(.84, .88, .94));
    vec3 pj = p + vec3(0, .06 * o, 0);
#if WHO == 0
    d = smin(d, ell(pj - vec3(0, -.24, .18), vec3(.635, .78, .66)), .24);
    d = smin(d, ell(pj - vec3(0, -.86 - .08 * o, .50), vec3(.20, .16, .19)), .26);
#else
    d = smin(d, ell(pj - vec3(0, -.26, .18), vec3(.69, .82, .67)), .24);
    d = smin(d, ell(pj - vec3(0, -.88 - .08 * o, .50), vec3(.30, .18, .22)), .24);
    d = smin(d, ell(s - vec3(.46, -.62, .12), vec3(.22, .24, .30)), .22);
#endif
    d = smin(d, ell(s - vec3(.40, -.26 + .03 * sm, .52 + .02 * sm), vec3(.25, .23, .265)), .18);
    d = smin(d, ell(s - vec3(.28, .24, .64), vec3(.30, .09, .15)), .14);
    d = smax(d, -(length(s - EYE - vec3(-.01, .0, .03)) - .235), .13);
#if WHO == 0
    d = smin(d, cone(p, vec4(0, .12, .74, .055), vec4(0, -.19, .985, .072)), .13);
    d = smin(d, length(p - vec3(0, -.225, 1.005)) - .085, .05);
    d = smin(d, ell(s - vec3(.082, -.25, .93), vec3(.058, .05, .075)), .05);
#else
    d = smin(d, cone(p, vec4(0, .12, .75, .065), vec4(0, -.20, 1.0, .088)), .12);
    d = smin(d, length(p - vec3(0, -.24, 1.02)) - .098, .06);
    d = smin(d, ell(s - vec3(.105, -.26, .93), vec3(.072, .06, .085)), .05);
#endif
    d = smax(d, -ell(s - vec3(.048, -.305, .985), vec3(.026, .022, .05)), .025);
    d = smin(d, ell(p - vec3(0, -.50, .63), vec3(.30, .22, .24)), .14);
    vec3 e = s - EYE;
    d = smin(d, ell(e - vec3(0, .012, 0), vec3(EYE_R + .016, EYE_R + .004, EYE_R + .014)), .11);
    vec2 lid = lidOpening(e.xy);
    d = smax(d, -max(lid.x, .05 - e.z), .016);
    vec3 q = mouthSpace(p);
    d = smin(d, lips(q), .035);
    float open = .010 + .115 * o + .03 * sm * o;
    d = smax(d, -ell(q - vec3(0, -.005 - .075 * o, .02), vec3(.212 + .03 * sm - .03 * o, open, .22)), .018);
    vec3 ear = s - vec3(.86, -.05, -.10);
    ear.xz = rot(.35) * ear.xz;
    float de = ell(ear, vec3(.075, .22, .15));
    de = smax(de, -ell(ear - vec3(.07, .02, .03), vec3(.05, .14, .08)), .05);
    return smin(d, de, .06);
}

float hair(vec3 p) {
    vec3 s = vec3(abs(p.x), p.yz);
    float a = atan(p.x, p.z + .25);
#if WHO == 0
    float wob = .020 * sin(a * 15. + 2.2 * sin(p.y * 2.1 + a)) + .011 * sin(a * 31. - p.y * 3.);
    float d = ell(p - vec3(0, .40, -.16), vec3(.985, .985, 1.08));
    float lock = .05 * sin(a * 9. + .7) * smoothstep(-.2, -.9, p.y);
    float side = lock + cone(s, vec4(.78, .35, -.05, .24), vec4(.80, -.72, .10, .27));
    side = smin(side, cone(s, vec4(.80, -.55, .08, .26), vec4(.58, -1.16, .24, .045)), .12);
    d = smin(d, ell(p - vec3(0, -.34, -.42), vec3(.96, .98, .62)), .3);
    // the face window, parted to the sitter's left
    vec3 f = p - vec3(.05, -.36, .92);
    f.xy = rot(-.10) * f.xy;
    d = smax(d, -ell(f, vec3(.70, 1.02, .86)), .10);
    d = smin(d, side, .12);
    // the fringe sweeps from the parting to the right
    vec3 g = p - vec3(-.24, .60, .66);
    g.xy = rot(-.62) * g.xy;
    g.y += .55 * g.x * g.x;
    d = smin(d, ell(g, vec3(.60, .20, .25)), .10);
    vec3 h = p - vec3(.50, .62, .55);
    h.xy = rot(.95) * h.xy;
    h.y += .5 * h.x * h.x;
    d = smin(d, ell(h, vec3(.42, .15, .24)), .10);
    return d + wob;
#else
    vec3 c = p * 8.;
    float curl = .055 * sin(c.x + 1.7 * sin(c.y)) * sin(c.y + 1.3 * sin(c.z)) * sin(c.z + 1.9 * sin(c.x));
    float d = ell(p - vec3(0, .50, -.16), vec3(.91, .93, 1.0));
    d = smax(d, -ell(p - vec3(0, -.42, .86), vec3(.88, 1.06, .92)), .05);
    d = smax(d, .02 - p.y - .5 * max(p.z, 0.) - .35 * smoothstep(.1, -.5, p.z), .08);
    d += curl;
    return d;
#endif
}

float brow(vec3 s) {
    vec3 q = s - vec3(.345, .285 + .045 * uFace.w, .80);
    q.xy = rot(-.10 - .05 * uFace.w) * q.xy;
    q.y += .9 * q.x * q.x * (1. + .3 * uFace.w);
    q.z += .75 * q.x * q.x + .42 * q.x + .1 * q.y;
    float t = smoothstep(.24, -.2, q.x);
#if WHO == 0
    return ell(q, vec3(.21, .017 + .018 * t, .042));
#else
    return ell(q, vec3(.22, .028 + .014 * t, .055));
#endif
}

float phones(vec3 p) {
    vec3 s = vec3(abs(p.x), p.yz) - vec3(0, .12, -.12);
    vec3 b = s;
    b.y *= .94;
    float band = max(length(vec2(length(b.xy) - 1.12, b.z * .40)) - .060, -s.y - .0);
    vec3 c = s - vec3(1.10, -.14, .04);
    c.xz = rot(.16) * c.xz;
    float rr = length(c.yz * vec2(.88, 1.));
    vec2 w = vec2(rr - .30, abs(c.x) - .10);
    float cup = length(max(w + .07, 0.)) + min(max(w.x, w.y) + .07, 0.) - .07;
    float pad = length(vec2(rr - .25, c.x + .13)) - .085;
    float yoke = cone(s, vec4(1.13, .20, 0, .05), vec4(1.19, -.10, .04, .05));
    return min(min(band, cup), min(pad, yoke));
}

float glasses(vec3 s) {
    vec3 q = s - vec3(.345, -.01, .90);
    q.z += .35 * q.x * q.x + .10 * q.x;
    float rim = length(vec2(length(q.xy * vec2(.94, 1.)) - .262, q.z)) - .021;
    vec3 b = s - vec3(0, .05, .965);
    b.y += 2. * b.x * b.x;
    float bridge = max(length(b.yz) - .02, b.x - .105);
    float temple = cone(s, vec4(.60, .05, .82, .02), vec4(.90, .06, -.1, .022));
    return min(rim, min(bridge, temple));
}

float body(vec3 p) {
    vec3 s = vec3(abs(p.x), p.yz);
    float b = 1. + .012 * uBreath;
    float d = ell(p - vec3(0, -2.85, -.38), vec3(1.18, 1.35, .74) * b);
    d = smin(d, cone(s, vec4(.20, -1.62, -.34, .34), vec4(1.12, -1.98, -.36, .40)), .35);
#if WHO == 0
    vec3 q = p - vec3(0, -1.36, -.20);
    q.yz = rot(-.22) * q.yz;
    float l = length(q.xz * vec2(1., 1.06));
    float ribs = .012 * sin(atan(q.x, q.z) * 44.);
    d = smin(d, length(vec2(l - .475, q.y * .62)) - .115 + ribs, .05);
#else
    vec3 q = p - vec3(0, -1.42, -.18);
    q.yz = rot(-.30) * q.yz;
    float l = length(q.xz);
    d = smin(d, length(vec2(l - .54, q.y * .55)) - .13, .06);
#endif
    float arms = 1e3;
    for (int i = 0; i < 4; i++) {
        float c = cone(p, uArm[2 * i], uArm[2 * i + 1]);
        arms = smin(arms, c, .12);
    }
    return smin(d, arms, .22);
}

float hand(vec3 p) {
    float bound = length(p - uHandBound.xyz) - uHandBound.w;
    if (uHandBound.w < .01) return 1e3;
    int n = bound < .25 ? 4 : 0;
    float palm = 1e3, fingers = 1e3;
    for (int i = 0; i < n; i++) {
        palm = smin(palm, cone(p, uHand[2 * i], uHand[2 * i + 1]), .13);
        int j = 10 + i * 6;
        float f = cone(p, uHand[j], uHand[j + 1]);
        f = smin(f, cone(p, uHand[j + 2], uHand[j + 3]), .025);
        f = smin(f, cone(p, uHand[j + 4], uHand[j + 5]), .025);
        fingers = smin(fingers, f, .018);
    }
    if (n == 0) return bound + .1;
    palm = smin(palm, cone(p, uHand[8], uHand[9]), .16);
    float thumb = cone(p, uHand[34], uHand[35]);
    thumb = smin(thumb, cone(p, uHand[36], uHand[37]), .03);
    thumb = smin(thumb, cone(p, uHand[38], uHand[39]), .03);
    palm = smin(palm, thumb, .09);
    return smin(palm, fingers, .055);
}

float map(vec3 p) {
    vec3 h = (p - uHeadT) * uHeadR;
    vec3 s = vec3(abs(h.x), h.yz);
    float hb = length(h - vec3(0, -.05, 0)) - 1.55;
    int n = hb < .15 ? 1 : 0;
    gSkin = hb + .08; gHair = gEye = gTeeth = gBrow = gPhones = gGlass = 1e3;
    for (int i = 0; i < n; i++) {
        gSkin = headSkin(h);
        gHair = hair(h);
        gBrow = brow(s);
        gEye = length(s - EYE) - EYE_R;
        vec3 q = mouthSpace(h);
        gTeeth = ell(q - vec3(0, .050, -.10), vec3(.235, .078, .10));
        gTeeth = min(gTeeth, ell(q - vec3(0, -.09 - .105 * uFace.y, -.25), vec3(.14, .05, .15)));
#if WHO == 0
        gPhones = phones(h);
#else
        gGlass = glasses(s);
#endif
    }
    float neck = cone(p, vec4(0, -1.75, -.36, .40), vec4(uNeck, .36));
    gSkin = smin(gSkin, neck, .16);
    gCloth = body(p);
    gHand = hand(p);
    return min(min(min(gSkin, gHair), min(gCloth, gEye)), min(min(gPhones, gTeeth), min(min(gHand, gBrow), gGlass)));
}
