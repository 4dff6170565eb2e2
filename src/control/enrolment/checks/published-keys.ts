/**
 * Keys whose private half everybody has: examples of standards (RFC 6605, 6979, 7515, 7520, 8080, 8410, 9216, 9421,
 * 9500), what the libraries that devices are built with ship for their tests and demonstrations (wolfSSL 5.5, Mbed TLS 2.28,
 * OpenSSL 3.0, mosquitto 2.0, ESP-IDF), and what a generator makes that has no randomness: the private numbers 1 to 16,
 * and octets that are all the same. They turn up in products, because an example is where a firmware begins.
 *
 * Of each key, the first 16 octets of the SHA-256 of its SubjectPublicKeyInfo in base64url.
 */
const published: Readonly<Record<string, string>> = {
  'a test or example key of an RFC': `
    3l8PjurusqDYrrNyrKzlCQ G1DZodf2YZ8DYv6TglBiWQ JYYrlrOb6kuACXpEczslAw K9G7DESol8MKeqCZHN442A L5VgH6ggYLkJv8a5edvTAw
    SadoYwFFr9O7-bI8Js_xCQ TOvwLPZIoyRBMm7pVWEAqA Wnp4zKSg9CDZvGK7Zpw8Jw Yndx8l2kJtH5rjFeQhBtcA e32tEB0Bku0YVHMVDf1eqA
    j7a61nHP5pg5PEUzV9phtQ lkZepdybstp7NR2AinGW5Q oekVYFTgT6yJmunydRMs3A srBDQM-u5hbsnCxi0mGyCA xMEBBaC-DtTdM1RCjcOKmw
    yFedjYePuOqypvHnFMkhGA VfljYbeMu4Tx_GBLBxjoKw NFcWBst6DXG-N35nHdzMrg
  `,
  'an example key of wolfSSL': `
    1WJpjJbcDU3sJrEJ_hFSQg 1tEW50HYZepC-27B9xYkEw 1uRbUb9y7naxaui6s5K6Qw 2qGzwnPuAFlz1ieyvxhlGg 3TUTEUuMxPPyfcCEQ4UIuw
    46uzF_tYSFENq9dHvcgYzg 4UTGqVjic-4nLvtuWlc7qA 6hOzYrvuiEzodYKMuPv05A 8jU4d1Fhxc_G1GM7-9YutA 9rwD7Cy9zTiRCmOsGRdruw
    BuP9j9opu2CrWVV95h7bCg DFEfUsHN1iszWK3Mk8J3Iw DQ-z-ff0-4Btq_OMxaek2w DlFRz6eVwev5ajxdqSgDrw DyYi2nYp9e6gclHzYKkuCw
    EzkA9tLm58xEIxJo3XB_Kw HhOjO9Xs1EWB6SGDupFiwg Kvcdibej9b58n52m8X_-WA MvHz7nqM5gLwxB5mFdORNw QD8v6z2whdYWzUpXzUazRg
    QgCdFJ0LlTALFOBD6TNSRA RaE83xCovY2H3ZdMysU_rQ ReMxn13jU5ifMHKbNTUj0w TfoworDJCzCsqb7rBH4CGA TiVmug8L0zNFUAcIrTutNg
    ToFupnj-dK9k4Y-cSrtTdA VxVraMky09_Gtd_yd7s7ig Wz7-8IantGN7KEPQqPtcXg Xwlgph7GzTcwZfmK3PYpUA Y4qVm52CV4KElU_Jo2zCCQ
    YHkBQdGT-F8zdB7e12aMEA ZegLfoNnmGfNjjk0zeC0IQ Zt6vhbfX-zsPQpNbVXEUoQ _diUmPLgRM5fwZ3StrE-4g aG1aTzkL8dbFVouYos4Svg
    b49iNgt05nsLwokPcCDZNw biyAjiD6HbyYDrPps8gwWA cisTmcsDCA-Q4D0A-Ksvow esY_DV_LbeAgcCEWK-G_yg hayeNveWWq9w32X4_L8xJw
    hvjcyjTBs8AKfM88ecn0WQ hvjukK2drrBDrW-nGLOfTQ iiJQgi4f3EYbdMB7wDAUxw j387HP5DTD6D2BliVibeew mSHYjAus-eV9BsOD4w122w
    n90h_iZBbuHD6TH3Mj4ZQA nvgYyg8Ci7pReVy8O4xeyQ oHvQN6RQraHN1dmQwNJ-rw owVaEqgMZ2d-mC1pKsIqPg p7yZ3DpV5c8D63TAkyGbUw
    pGEjGq8NFZjfSgLDP1sBEw pNGxmt6RxH_stuDL-KZ3CQ pRX6RAvGzm4d-5hjJgbxqw puYu1dnPOwGdLNU3sbNKYA q5e8yKss04TcV0u4e7pdng
    r4kEOKtR6ELxpSHxo-yu4w rWVRJ4Z3fNeBrtmdvlqNaQ rylsxLd6bSCd9dsRLn2jAA s49o4TbNExUNeHguVxognQ slDIeT6m9_CAP5uRQTW3sg
    t6S14mjq_gIK2wM5LRdMSA uNVA0kMtIVgHCFyu7V7qzw uhRkNj17Acu_0svpcyZ_CQ vqDXcgKIqS6MqzUHakUe5g wAOffs0xMyYKdouGrJ-NyQ
    wErLHS9P4Zpa9APmL9CeNQ x5dHLcU32UrGyoiwm9BGQQ xJzWO5aOIw56Ve9uGBgYlA xuXGmuKZzeXOhDtIcS26kA yH-IP-FlDMm4gDg7QxqOXg
    ybHE0t2F_KnNweZv9pYqSA zHTB-DFZonbqkU3RPefgtg
  `,
  'a test key of Mbed TLS': `
    -rnPxDCYMHOihEX3BmR5JQ 3KJ-ahPQ7TkpMvOSPgFzNA 5gKA8HN-1erZI2cFeE-Ovg 6fytA414ErzZsJyqpenTTg 6hZVoGEer30Yy5D6ai8QmA
    6ww9-lU0bhOeVZlGkCEG3A 9IZMfvGAtx27Wf6E1sNnBA CTVAMzWVIpCKtyvltOScvw DUe7MplcTzdCKN1AHKRr5A F6aQ3w_73GgYqfjAj5P2OA
    GZb5va-aujQQbPTDS73WKA H11i0DqPRV7FYRzlTGVQKQ IZpKmWQvudepVHYEqxfsDA IuZ4Bm7dw3ul6C3PRJFCCg IwYFufiJeE_Oe7wJ6c4J1A
    JrD0tbO4749Ur5ypy-9lVQ KrMRGZXZ9TYsIje6uJ7CRQ NQqbQ810JSJLciz29kuvfg NcOOu_RwXfKIsJz7uRz4Kw NlGmhAYNofwtDJx1YM-QqQ
    NwNGwIZHcNrHqQd091rG3g O9PL554pcnG7jFNiLy8t6A Qle6MKdw5MleElr8o_4SHw SOgS8unTXRB3Fyet0MEs_A WO_FQAKNozoOte8cBiHKPg
    YWs4dNeqxPfTvSTpNsA2yw ZFKDnr83G5qadYXv1WoClA ZwOgQoX2G_L3mxQ7GEFDXQ aEE00jMimYX_ty4dUzzsUw aER8PrQH5kNoMf5nWubfkQ
    aytznAz-g20mxCZy9KB6iw fzBoOF4AbyXnXV1yUUWrIA haCQK358_locvc3YIS722w kWtT4JPipxEVKkE-BBORZg kkaP6IAvu5Zrf6D8pJeAnQ
    lZa5mmyGgRT0wbP3-lbivw qpp35XAdf6gnL_E1YpFgtg rwEk6lD74Xs2gK7eIA6J5A rzA-uKRUbwM3Y5pMfUhglA s6zpRnLQr1lKaGLsK7CPAw
    shCDObP7s3FdA8DLWAtbRA tsxGR7ddSc_fRbI84RqpgQ u6cPWU2k3xnzp88IbjwmdQ vjzMFe-j_zXh07V5gTwOkg xsttHjIrLk7cmKKE-YOovg
  `,
  'a test key of OpenSSL': `
    -i54-J6kMfuL_jfAkk7p3w 0jAI2_kGTnRTqDYkphtsKQ 0tjH0d4eEY6BDBXrf42VYA 190PpNGcIznSzv04bp9NyA 1p_1OnBcJzyY5Ac8AjYDuQ
    2X1hraMa6RCr1sSMjqi3JQ 2p4slz-B5FjgUQ1-lDdnFA 367GmNYjnmzdfQd2PtJbuQ 36Gu5A9LDxdoP7uFQn4zQg 36vkjLN26Jvyq55tmJS3Pg
    39I5bKhhfIpsBrjnL-6ByA 3rLe053Cb84OYIW2_DS_aw 3xwuwRUAlFJHqWFoMl3cXA 4BtnxdHr0PJOPc17NsNJmg 4CyBOI8XBCW7Wcdk69pjtg
    5320qVcun2VSwivHUdVJmg 5PmCtRrQvdh76CCyWf6AMw 5qaEJztaf_VrWTMbHlA63g 65ooCxM7ao-B_Ors_0qLPQ 6DUZamQnelWO9fDsTOjIXw
    6JteLPYApKvbGut-R8eL4g 7av8WenU5ZTQyiNDm1PyIQ 8SliZI73STJ7blRTH4nGYQ 8jFMAl7xwiE6Pd0CrafbnA 8vDq-NwpXRCVnJBKTUtMtw
    90UV2LocTzGTbPWIvLUQCw 9jD4It8GKQDEsZjJNBgEPA 9y7L8y4X0zQY_u7MjtH84w AeZ-ViRLQ7Zo4rmml9qq_A AzGSJWL_62B1A2G8hWYxjw
    ByKSuLm2ZeGleFii3JifsA C4n4R_U-aGOqljvslS1LyA CNLT4hl6WiehoDWCDgG6kQ Ch1x-x6gHRhtTLHH1URVgA D2Ms8PMqRo99bsEt4GJsVA
    DE9Uf85a72pGlD4pg-Pn9w DrNKeGdUXz8w9uShjOETug E-WOY9FtIwl2OAkS7JXL3w E3swQBBXMxm6gQ0E4JhmjQ EOgxJSm0xSV22iedM1Lifg
    FOZHPHpE4frO5zSjFwH6jA Fo6r885fpVU5sI3xDXK0Iw H2WuyDpkpVXXMT61hJ67Nw HlG9f8OPbxFb7r8KqFE5vw IDlBZ01pOeL88oUdj8K39Q
    ItsGJdqyhaT1EFVeOwZLHQ JQxbkZTX64o1kO2bzYJqKw JcoS5UNP0Q92Djj3F8sUcQ JuxhzNyaF0_0YUsdIsKucQ K7L7XmvOTEU2HzX7P1HE7A
    Kci6znvLQqZ9O2SSFexoDw LH6_-qmcQJt3V4ZK--_tqQ M1d6BZ4zeeCSfgefG-xgxg MTHSnDRxUnmMV5u_uMCmiQ McSd5msqd662E6ZepV-yDA
    Mm2Zrg6Y8t1BlucEWaCPQA N9CcxmXK7IC6GbHzGosZEg NJ0kV3VXxrQyF1AD6q5Nyg Nm1v6Iu8x0_S3Jb5u3wP9g Nmh7gPiSd9Wnwsf4jtn2bw
    NtS6rAnZiaowxSAtYVJy0A OIgyFSAsD8_7vik0CZzqqQ OhYPd3zo5o7xG1_uQL7bgw OmWrqwC9LQbYNf-xv5bpFA P4akza_ujhlY--_YLkjpYw
    PZrv1acMOUEuPIC_sMaazQ PaLbYGvC60wl6SWPH1-tUA Pb82Z-3hDNH5fC1BBm5AVw QDnTbgaT6hixBv45CfUvDg QEkmLLpeyseFnL0vv2ax_g
    QSroA8-58O2pJJgi1deTDA QTF8sJ-cV5DAs7vv_FaM0g Qp4BN-JDEF1n1C7DWyQsVQ RJKIsj_MyT7YP7NxXcg0pw Rq7p-4oeuA_FhKnwIGAF0w
    RuEiCOYGAOng7hoAhjigng Rv1LtupWBl3xgZizt__OSg SE45mQgsS5PfBSwLRNsIQQ S_fM6mUBNdnLZn-yIZ5X5Q T8RWdlf7Dpn95IGFthYz5Q
    TA-MZvPkXozQrDQsyq7RZw TdaucOBlhFyr8nEKfdUB4A Teu3O7tFdCHrcbrD2VXzEw UA8MaXurz3rySG4JOT2ETg UIo_idRgE0YwnYpKOdZOvw
    UoiuPexp-RY3Dbi4emiXlA UvBf9TNf4ejrxZP8kF_SfA V2e7G4eERwdiQ3cWlRUabg VeOQml7JJc2RNPIn4_StXA VnprZ4hO2YUoce74MNstXQ
    WADqBxe3WIY4BDs9tyCYjw WM_jpDx3Uym7-QLxkHjAAQ WqUP9zmnYo10TXXzQVHYrg X4NTGa_h1mJ-slH9OBHuNQ XDykzncgCsPGCehADFtFBA
    XNJS-wzokyQ2-vjM0QQJgQ XUaCPXZQkkxJYPbZt5Igpw XfexHnnXdhyJqhKLs0yFCw YJ3jvs5tCSKyIyeAjWea6A YqRy6LwIBBKwjOTG5X3HdA
    ZKBY7I6jnASyZf_fIBJJ0A ZdSBBG97Ro6Rosc2zLJ6Cg ZxVdXsP7amYDI2Lu9PaPJQ _-r9RtpDWGUORARR8v722Q _2kY1Vs5w9W8I_E1yyJtPw
    _Av1zEXqVg0aGuD1bu0a8g _vscwFrImA8GeKmrnQTYXw aDc4Ty-VZWRRj0cKkuhnPQ aY1i6esJvEb2_k-KJ5stnw b51cnOOJu_aER9F3q_wndQ
    bBbq4ox-jVbDFlhq7eidlg bQo7-3c7Zs3_Nk21VGYciA bzpyqDrg9hXh--8kYZIEPA c2onZ8Yj2Vejc9DSMdTUIw cWOPPDYBEXbIFzvGdah8og
    chw07AtfWYwfzb4nM8i_GQ coXVD4ee8MaY8PgcQi0XFw d42DiPiaAg1_cEBLBHQHHA eC2BKjKMTiNiE8ytjI4kVQ efdsNKZNcMFXETlH3-PLjg
    f-0w60HbY4OSSjh5xw-36g f8an1OOt2V0K0PtZ9QzCMw fmaijTTNRo3ObckL-kch6g gG49H8_32RlJfCTyKhdR0w gL0FoxQ9xN8oG7NpasPOBA
    gNQb8dwEfgeZpQzVAb-ZlQ h20hRHT9kkGKr-U-pRBMEA hwdyJyfetHaFQsAbkmYOdA ibi5UuEZvhjtu7skMvqxBw iz41vs-geWHTfZ3ErdEDqg
    j6X70JZaKZNMKfqkg8qj1g jTm6UKvlD3e2u4rntpJ6_w jiq141yfbEB3xs_JqCKEHA jw7hl4Wf16bU8_B88UAS6w kI10uKohwapJGQFvzYLGYw
    k_cnPTzjGaQ6afawnsA-yg klDRmfeszALtEZ1Fh0mkaA lrXnCRmcAzXLVh59XpS6Ew m5oPnLL6anCbkxYP74UKDg mDXYBUYkZUynUHeujPHE2A
    mPgZkDZlZLIebbb8cEcSdw mn5HIYtZqV1uL7pMuQKBVw mw_egzaJZEhqmWqhXvr81g n2xOAh4U9ozVa1rBTVq8PQ n9FLankyqMCD5pQg3X90nw
    nMV9Ch0qOkgARhuJDREfBQ nwQQw76n1Zb1WrSnDBjAlg oiC-XSi02Cc9AOg1656l-Q ojI2acVoB6-7O08abnbY0g os3cVC_8-NE6S-KkhSnbKQ
    p4M3tcCjJEKp1CFdETuVuw pf7TjskBmBJHfMGAeDV3PA pv3CxtB6qHfjrDYMLOXvtg py-bXekemnktlp3XcVC2Jw q8wOGagjuaQdz_aLY3ul1Q
    qg5_aluRhpvwxRbNni9EBA qsGTPMJ-silb8ruT18cKVA r9VDyfBluuq0TkrKRUfxTg rBcLpIg_MVGwzaOwgLmeGA ra3DJGu0gwVRxtoUPXRicg
    rofPvUo8fSuwhvMBdehoTQ rxQmZsA2yRYvSnMilGcS2Q s12yQTwEb59PPlPVRyFcOw s66g8KUFOIdPK0yRLyZ2vQ smZUDAxS3gJS9SG9MP9sEw
    t-CdsWgpI1-Pi1bsd864Eg uUp8B453M8xDIZegg6XsWQ vWUCKX-LCJpu9EwIaerHEw vdM9mWCRTvEW-bcXGfnszw vdYWen7X13BODFwjEqReLA
    wH6kRYS3SOjy5N7salUXsQ wo0ig_vjmrvd5ApYWeH0cQ xP4wbYARJrpYX6wyJI-7Vw xSR6qLzCbnFzOetGcT7j9A xtk5TSv6AVc-NOFBpzwUnw
    z3y3EY4V4DOc4ItwAd-W_w z_U5lsXV9mKAMCBN_ukt8w zfIxbK-kYAF2dG7JYGmAJQ zkN6P3gahxY9cwNZZUMMdw zn8-NpO8Uv81QQKas-jhtg
    zoREruhbqbrLuoA8ld8ofA zr9ZpGXM2cQqf39qeJzHQQ
  `,
  'a test key of mosquitto': `
    3kcCy-IabNVCsI_qW4TUdQ 68FQNZstvEfGN0tEU8i54w Mn3H8L7ef3XNC0C-AKtofA NeB-1YaPXdPBTGSdi-IBeg WS_fu35UNpQ-FqcT0HJbbg
    aalcfhskcORxOPyPOSwpKw jBzZOnZLyqdTERXy9CBfNA l1ZolOVXwK_wNoJ2D6JTdg o9YphVlRX6lDUQ33qYSVow r1VhM68hC-xfAqKL79swyA
    t4HHYWJvDbfD4oCf59BAyA
  `,
  'an example key of ESP-IDF': `
    1vKihkwaUDOyHnTcQYgagw QR-QpDcUpaQ9Vt03LtrGUw RaFKtM9QnjXlcA-Zt3alKg RqjhPvaP6cZ1CtDB3cJ2rQ W7R7Ski1CWs4AGz3T-4x0w
    fRBVGvoNvn4JyTCVIJdrkQ fvsFHK-UTMe43xzgNEabnQ pFGii8GibvA4zNjacdAB8Q zpO5Mt6MIwXmwUscOAASDw
  `,
  'next to nothing, or one octet over and over': `
    -FeuTtbjTjN2Guolyq7j_g 1L8Q6FsUacJEUlB7vNt0mA 1M1CSEdjRErBhIzOJnGfaA 2vxBjrCC6Dx2pI8MUm_kXg 3AzmM9vMkT2vr6S4msRNjA
    42Ff_zdHTFYcBo0fVvXsNw 4EyqtSXP84CU3JlLKOiHOw 4mYw0SM-2S2KwjGkvyMP3Q 8PagAD_Z6U_7FuIgbP3ycg 9tbMYOA8gFrfls3zW0K3Ew
    Br1w4LT8ySd94UMXNz3Phg BuQfx1XszitJODvYGNxOmA EQhmSc0-XRiSIApCALFluw Eom99zUX089DRb8skn0arw ExE8RZy1JX8ToE7kBXBX-A
    Ia8RCqPqO5cFzGN0gwzlvQ K5hbrfG6yCk_a5LowKzBEw Kfj-dPOMSdSYEM7HNqJnMg M54v-RdjBQe2pCO1zghOKA N51sf4U9GCNMgOWWgBVQfQ
    Pqs_ulAmth0AfL9BG5DzyA SLpcAHh-EyTNtohCbztoGA SmsNjhOWsu_6rGaiaioVwQ UD2O5G1YHGSZZlaa4JXicA UgOhmiqviEPFD5BWNG_uzQ
    V6lQaDFn6cID3xd58bu8dg Vzj6WQzb98pNS66BfTyYyw Y-zv7kMdSVI7wRNsTnLQIA Y7xNbiyyQTF8AdcMQVZKyQ ZAXJZw6VmLe7Nr2QCeLGWg
    ZrAHDYvXViPY7zTgd0crBQ _RENMB0vB33hQUuPmfRBsQ dbGCLCbnlLQK8jeaNqYLSw doBaY6aYDBgHVCShPzJ3LQ hEkRGYXE4BXRLiwLSEcnjA
    htXv85MShQmW2sLhvDKXqQ jV63XbtkRkrJNp0kFqAmyQ lmFt1VtfwfblJxA7qtyzyQ ndcr7dKpOPY9FzO1gjLWWQ sinlwF1BREWuLFF1-wbiMA
    uU9gPPtnl1cItdgqE3RcLQ vSGEAo7KHF1WPU7RGnyBcQ vabqP1Njraef8oGdJxq_0A w3nyWNatly_cgKhXTa03ZQ xpklld2Exy_LjcqOvlxE5Q
  `,
};

const octets = 16;
const whoseKey: ReadonlyMap<string, string> = new Map(
  Object.entries(published).flatMap(([whose, digests]) =>
    digests
      .trim()
      .split(/\s+/)
      .map((digest) => [digest, whose] as const),
  ),
);

/** Whose key it is, in words, when everybody has its private half. `spkiSha256` is the digest itself. */
export function publishedKey(spkiSha256: Buffer): string | undefined {
  return whoseKey.get(spkiSha256.toString('base64url', 0, octets));
}
