// Light, materials and the ray march of the sitter: linear light, premultiplied alpha.
// uCam: centre x, y of the view at z = 0, distance of the eye, half height of the view.
uniform vec4 uCam;
uniform vec2 uSize;
uniform vec2 uJitter;
uniform float uWeight;
uniform sampler2D uStart;    // from prepass.glsl
uniform float uCell;
out vec4 outColour;

const vec3 KEY = normalize(vec3(-.62, .52, .80));
const vec3 FILL = normalize(vec3(.85, -.02, .75));
const vec3 RIM = normalize(vec3(.85, .38, -.55));
const vec3 RIM2 = normalize(vec3(-.92, .30, -.50));
#if WHO == 0
const vec3 KEY_C = vec3(1.50, 1.27, 1.02), FILL_C = vec3(.12, .18, .31), RIM_C = vec3(2.2, 1.05, .48);
const vec3 RIM2_C = vec3(.40, .30, .24), SKY_C = vec3(.21, .215, .26), GROUND_C = vec3(.14, .095, .08);
const vec3 SKIN = vec3(.78, .475, .34), LIP = vec3(.50, .115, .11), HAIRC = vec3(.095, .036, .018), IRIS = vec3(.13, .25, .17);
#else
const vec3 KEY_C = vec3(1.9, 1.62, 1.25), FILL_C = vec3(.20, .29, .44), RIM_C = vec3(1.9, 1.5, 1.0);
const vec3 RIM2_C = vec3(.5, .65, .9), SKY_C = vec3(.34, .42, .54), GROUND_C = vec3(.16, .16, .09);
const vec3 SKIN = vec3(.29, .135, .074), LIP = vec3(.27, .085, .065), HAIRC = vec3(.020, .013, .010), IRIS = vec3(.11, .045, .018);
#endif

float sq(float x) { return x * x; }
float hash(vec2 p) { return fract(sin(dot(p, vec2(127.1, 311.7))) * 43758.5453); }
float noise(vec2 p) {
    vec2 i = floor(p), f = fract(p);
    f = f * f * (3. - 2. * f);
    return mix(mix(hash(i), hash(i + vec2(1, 0)), f.x), mix(hash(i + vec2(0, 1)), hash(i + 1.), f.x), f.y);
}

// Cloth coordinates: across, along (down the torso or along the sleeve), and 1 on a sleeve.
vec3 clothUv(vec3 p) {
    vec3 uv = vec3(p.x, p.y, 0);
    float best = body(p) + .035;
    for (int i = 0; i < 4; i++) {
        vec3 a = uArm[2 * i].xyz, ba = uArm[2 * i + 1].xyz - a, pa = p - a;
        float len = length(ba), h = dot(pa, ba) / len;
        float d = cone(p, uArm[2 * i], uArm[2 * i + 1]);
        if (d < best) {
            best = d;
            vec3 w = ba / len, x = normalize(cross(w, vec3(0, 0, 1) + .01)), y = cross(w, x), r = pa - w * h;
            uv = vec3(atan(dot(r, x), dot(r, y)) * .36, -h - (i % 2 == 1 ? 1.2 : 0.), 1. + float(i % 2));
        }
    }
    return uv;
}

bool onScarf(vec3 p) {
    vec3 q = p - vec3(0, -1.42, -.18);
    q.yz = rot(-.30) * q.yz;
    return length(vec2(length(q.xz) - .54, q.y * .55)) < .17;
}

float clothHeight(vec3 p, vec3 uv) {
#if WHO == 0
    float fx = fract(uv.x / .115) - .5;
    float knit = sin(6.2832 * (uv.y * 8.5 + abs(fx) * 1.15)) * .5 + .5;
    knit *= smoothstep(.5, .36, abs(fx));
    float fold = noise(uv.xy * vec2(2.2, 1.3) + 7.) + .5 * noise(uv.xy * vec2(5., 2.1));
    return .016 * knit + .075 * fold;
#else
    float fold = noise(uv.xy * vec2(1.9, 1.2) + 3.) + .5 * noise(uv.xy * vec2(4.4, 2.4) + p.x);
    float quilt = abs(sin(uv.y * 7.));
    if (onScarf(p)) return .02 * sin(uv.x * 40. + uv.y * 26.) + .05 * fold;
    return .09 * fold + .045 * sqrt(quilt);
#endif
}

float hairHeight(vec3 h) {
#if WHO == 0
    float a = atan(h.x, h.z + .25);
    float warp = noise(vec2(a * 3., h.y * 1.6)) * 1.2;
    return .022 * noise(vec2((a + .22 * warp) * 26., h.y * 1.2)) + .012 * noise(vec2((a + .22 * warp) * 70., h.y * 2.));
#else
    return .05 * noise(h.xy * 17. + h.z * 9.) + .03 * noise(h.yz * 34.);
#endif
}

float ao(vec3 p, vec3 n) {
    float o = 0., w = 1.;
    for (int i = 1; i < 5; i++) { float e = .05 * float(i * i) * .5 + .02; o += (e - map(p + n * e)) * w / (e + .15); w *= .62; }
    return clamp(1. - .72 * o, 0., 1.);
}

float shadow(vec3 p, vec3 l) {
    float t = .05, s = 1.;
    for (int i = 0; i < 11; i++) {
        float d = map(p + l * t);
        s = min(s, .5 + .5 * d / (.085 * t + .01));
        if (s < 0. || t > 2.6) break;
        t += clamp(d, .06, .38);
    }
    s = clamp(s, 0., 1.);
    return s * s * (3. - 2. * s);
}

vec3 skinColour(vec3 p, vec3 h) {
    vec3 c = SKIN, s = vec3(abs(h.x), h.yz);
    float red = .55 * exp(-dot(s.xy - vec2(.43, -.26), s.xy - vec2(.43, -.26)) * 14.) * step(0., h.z);
    red += .42 * exp(-dot(h.xy - vec2(0, -.23), h.xy - vec2(0, -.23)) * 60.) + .4 * smoothstep(.82, .95, s.x);
    red += .25 * (noise(h.xy * 7.) - .5);
    c *= mix(vec3(1), vec3(1.03, .76, .72), clamp(red, 0., 1.));
    c *= .97 + .06 * noise(h.xy * 30.);
    if (h.z > .2 && abs(h.y) < 1.1) {
#if WHO == 0
        float fr = smoothstep(.74, .86, noise(h.xy * 34.)) * exp(-sq((s.x - .25) * 4.) - sq((h.y + .17) * 7.));
        c *= 1. - .28 * fr * vec3(.6, 1., 1.);
#else
        vec3 q = mouthSpace(h);
        float beard = smoothstep(.10, .32, length((h.xy - vec2(0, -.30)) * vec2(.9, .8)) - .28) * smoothstep(-.30, -.52, h.y + .10 * s.x - .28 * smoothstep(.35, .7, s.x));
        beard = max(beard, smoothstep(.09, .03, abs(q.y - .125)) * smoothstep(.36, .26, s.x) * smoothstep(.0, .05, q.y - .06));
        c = mix(c, HAIRC * 1.6, .62 * clamp(beard, 0., 1.) * (.75 + .5 * noise(h.xy * 55.)));
#endif
        vec3 m = mouthSpace(h);
        float l = lips(m);
        c = mix(c, LIP, .82 * smoothstep(.020, .004, l) * smoothstep(.30, .24, abs(m.x)));
        vec2 e = s.xy - EYE.xy, lid = lidOpening(e);
        float w = .036 + .016 * e.x / .2;
        float lash = smoothstep(w, w * .45, lid.y) * smoothstep(-.02, .01, lid.x) * step(-.03, lid.y) * smoothstep(.232, .19, abs(e.x));
        float lower = smoothstep(.022, .0, lid.x) * .35;
        float shade = exp(-sq((lid.y - .05) * 14.)) * smoothstep(.24, .12, abs(e.x)) * .30;
        c = mix(c, c * vec3(.62, .42, .40), shade + lower);
        c = mix(c, HAIRC * .35, lash * float(h.z > .5));
    }
    return c;
}

vec3 eyeColour(vec3 h, out float gloss) {
    float side = sign(h.x);
    vec3 e = h - vec3(EYE.x * side, EYE.yz), n = normalize(e);
    vec2 g = uGaze + vec2(-.055 * side, 0);
    vec3 look = normalize(vec3(sin(g.x) * cos(g.y), sin(g.y), cos(g.x) * cos(g.y)));
    float a = acos(clamp(dot(n, look), -1., 1.));
    vec3 t = n - look * dot(n, look);
    float th = atan(t.y, t.x);
    vec3 white = vec3(.80, .775, .76) * mix(vec3(1), vec3(1., .72, .68), smoothstep(.13, .2, abs(e.x)));
    float r = a / .545;
    vec3 iris = IRIS * (.55 + .95 * noise(vec2(th * 6., r * 3.))) * mix(1.9, .75, smoothstep(.3, .95, r));
    iris += vec3(.30, .16, .03) * smoothstep(.62, .38, r) * .5 * IRIS.g / .25;
    iris *= 1. + 1.1 * clamp(-t.y * 2.2 + t.x * .8, -.3, 1.);   // light gathers opposite to the key
    iris *= smoothstep(1.02, .86, r);
    iris = mix(vec3(.004), iris, smoothstep(.40, .46, r));
    vec3 c = mix(iris, white, smoothstep(.94, 1.04, r));
    vec2 lid = lidOpening(vec2(abs(h.x) - EYE.x, e.y));
    c *= mix(.40, 1., smoothstep(.0, -.075, lid.y));
    gloss = 1.;
    return c;
}

void main() {
    vec2 uv = (gl_FragCoord.xy + uJitter - .5 * uSize) / (.5 * uSize.y);
    vec3 ro = vec3(uCam.xy, uCam.z), rd = normalize(vec3(uv * uCam.w, -uCam.z));
    float t = texelFetch(uStart, ivec2(gl_FragCoord.xy / uCell), 0).x, d = 1.;
    float far = uCam.z + 1.6;
    for (int i = 0; i < 56; i++) {
        d = map(ro + rd * t);
        if (d < .0016 || t > far) break;
        t += d * .88;
    }
    if (t > far || d > .02) { outColour = vec4(0); return; }
    vec3 p = ro + rd * t;
    vec2 k = vec2(1, -1);
    vec3 n = vec3(0);
    for (int i = 0; i < 4; i++) {
        vec3 e = i == 0 ? k.xyy : i == 1 ? k.yyx : i == 2 ? k.yxy : k.xxx;
        n += e * map(p + e * .003);
    }
    n = normalize(n);
    map(p);
    vec3 h = (p - uHeadT) * uHeadR;
    int m = 0;
    float best = min(gSkin, gHand);
    if (gHair < best) { best = gHair; m = 1; }
    if (gCloth < best) { best = gCloth; m = 2; }
    if (gEye < best) { best = gEye; m = 3; }
    if (gPhones < best) { best = gPhones; m = 4; }
    if (gTeeth < best) { best = gTeeth; m = 5; }
    if (gBrow < best) { best = gBrow; m = 6; }
    if (gGlass < best) { best = gGlass; m = 7; }
    bool teeth = false, onHand = m == 0 && gHand < gSkin;
    vec3 col = vec3(.5), spec = vec3(.04);
    float rough = .5, sss = 0., gloss = 0.;
    if (m == 1 || m == 2) {
        vec3 uv0 = clothUv(p), g = vec3(0);
        for (int i = 0; i < 4; i++) {
            vec3 e = (i == 0 ? k.xyy : i == 1 ? k.yyx : i == 2 ? k.yxy : k.xxx), pe = p + e * .008;
            float b = m == 1 ? hairHeight((pe - uHeadT) * uHeadR) : clothHeight(pe, uv0 + vec3(e.x * .008, e.y * .008, 0));
            g += e * b;
        }
        g /= 4. * .008;
        n = normalize(n - (g - n * dot(g, n)) * .9);
        if (m == 1) {
            float a = atan(h.x, h.z + .25);
            col = HAIRC * (.65 + .8 * noise(vec2(a * 22. + 2. * noise(h.yx * 3.), h.y * 1.5)));
            rough = .4;
        } else {
#if WHO == 0
            float y = uv0.z > 0. ? -uv0.y + .03 : -uv0.y - 2.02;
            col = vec3(.70, .37, .065);
            vec3 cream = vec3(.84, .74, .58), rust = vec3(.42, .085, .045);
            float b1 = smoothstep(.0, .015, abs(y - .20) - .14), b2 = smoothstep(.0, .015, abs(y - .20) - .06);
            col = mix(cream, col, b1); col = mix(rust, col, b2);
            float b3 = smoothstep(.0, .015, abs(y - .80) - .14), b4 = smoothstep(.0, .015, abs(y - .80) - .06);
            col = mix(cream, col, b3); col = mix(rust, col, b4);
            col *= .9 + .2 * noise(uv0.xy * 40.);
#else
            col = vec3(.035, .095, .075);
            float zip = abs(p.x) - .022;
            if (uv0.z == 0. && zip < 0.) { col = vec3(.5, .45, .38); }
            if (onScarf(p)) {
                col = vec3(.74, .36, .06);
                float st = sin(uv0.x * 17. + uv0.y * 6.);
                col = mix(col, vec3(.82, .70, .52), smoothstep(.55, .7, st));
            }
            col *= .9 + .2 * noise(uv0.xy * 30.);
#endif
            rough = .85;
        }
    } else if (m == 0) {
        col = onHand ? SKIN * (.96 + .08 * noise(p.xy * 9.)) : skinColour(p, h);
        if (onHand) col = mix(col, col * vec3(1.02, .80, .76), .45);
        sss = 1.; rough = .46;
        if (!onHand) { float l = lips(mouthSpace(h)); if (l < .008 && h.z > .5) rough = .28; }
    } else if (m == 3) { col = eyeColour(h, gloss); rough = .1; }
    else if (m == 4) {
        vec3 c = vec3(abs(h.x), h.yz) - vec3(1.10, -.02, -.08);
        float rr = length(c.yz * vec2(.88, 1.));
        col = vec3(.80, .76, .70);
        if (c.x < -.06 && rr < .5) col = vec3(.045, .04, .045);
        else if (rr < .17) col = vec3(.75, .20, .13);
        rough = .3; spec = vec3(.05);
    }
    else if (m == 5) { teeth = mouthSpace(h).y > -.03 - .01 * uFace.y; col = teeth ? vec3(.86, .82, .75) : vec3(.50, .14, .13); rough = .25; }
    else if (m == 6) { col = HAIRC * .8; rough = .6; }
    else { col = vec3(.02, .017, .015); rough = .25; }
    if (m == 0 && !onHand && h.z > .4) {
        vec3 q = mouthSpace(h);
        if (lips(q) > -.3 && abs(q.x) < .26 && q.z < -.035 && abs(q.y + .06) < .2 && n.z < .35) col = mix(col, vec3(.16, .03, .03), .8);
    }

    float occ = ao(p, n), sh = shadow(p + n * .02, KEY);
    vec3 v = -rd, hv = normalize(KEY + v);
    float nl = dot(n, KEY), fres = pow(clamp(1. - dot(n, v), 0., 1.), 4.);
    vec3 wrap = sss * vec3(.36, .14, .09);
    vec3 diff = clamp((vec3(nl) + wrap) / (1. + wrap), 0., 1.);
    vec3 shc = mix(vec3(sh), pow(vec3(max(sh, 1e-3)), vec3(.62, 1.05, 1.15)), sss);
    vec3 light = KEY_C * diff * shc;
    light += FILL_C * clamp((dot(n, FILL) + .3) / 1.3, 0., 1.) * mix(1., occ, .7);
    light += mix(GROUND_C, SKY_C, .5 + .5 * n.y) * occ * mix(vec3(1), vec3(1.18, .98, .92), sss * (1. - occ));
    float rim = clamp(dot(n, RIM), 0., 1.), rim2 = clamp(dot(n, RIM2), 0., 1.);
    float rocc = smoothstep(.2, .9, occ);
    light += RIM_C * rim * rocc * .55 + RIM2_C * rim2 * rocc * .6;
    vec3 c = col * light;
    float a2 = rough * rough, nh = max(dot(n, hv), 0.);
    float ggx = a2 / (3.1416 * pow(nh * nh * (a2 * a2 - 1.) + 1., 2.)) * a2;
    float sp = ggx * .25 * clamp(nl * 1.5, 0., 1.) * sh;
    if (m != 1) {
        c += KEY_C * spec * sp * (m == 2 ? .2 : 1.3);
        c += (RIM_C * rim + RIM2_C * rim2 * .7) * fres * rocc * (m == 2 ? .35 : .5);
        c += SKY_C * spec * fres * occ * 4.;
    } else {
        vec3 tg = normalize(vec3(-h.x * .25, -1., -.1 * h.z) * transpose(uHeadR) + .0);
        tg = normalize(tg - n * dot(tg, n));
        float shift = (noise(vec2(atan(h.x, h.z + .25) * 40., h.y * 2.)) - .5) * .35;
        vec3 t1 = normalize(tg + n * (shift + .10)), t2 = normalize(tg + n * (shift - .22));
        float s1 = pow(max(1. - sq(dot(t1, hv)), 0.), 60.), s2 = pow(max(1. - sq(dot(t2, hv)), 0.), 14.);
#if WHO == 1
        s1 *= .25; s2 *= .35;
#endif
        c += KEY_C * sh * occ * smoothstep(-.2, .5, nl) * (s1 * .075 * vec3(1, .9, .8) + s2 * HAIRC * 1.7);
        c += (RIM_C * pow(rim, 1.5) * .30 + RIM2_C * rim2 * .2) * rocc * (.12 + HAIRC * 3.) * (.4 + 1.2 * s2);
    }
    if (m == 3) {
        vec3 r = reflect(rd, n);
        vec2 wnd = vec2(dot(r, normalize(cross(vec3(0, 1, 0), KEY))), dot(r, normalize(cross(KEY, normalize(cross(vec3(0, 1, 0), KEY)))))) ;
        float soft = smoothstep(.19, .14, abs(wnd.x)) * smoothstep(.24, .19, abs(wnd.y)) * step(0., dot(r, KEY));
        c += vec3(1.5, 1.42, 1.3) * soft;
        c += FILL_C * .8 * smoothstep(.965, .985, dot(r, FILL));
    }
    if (m == 5) c = teeth ? c * .55 + vec3(.27, .235, .20) * (.6 + .4 * occ) : c * .7;
    outColour = vec4(max(c, 0.), 1) * uWeight;
}
